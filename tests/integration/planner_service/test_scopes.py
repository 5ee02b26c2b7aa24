"""What the planner answers about stored plans and proposals is in the caller's scope."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import pytest
import yaml
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_client.client import PlannerClient
from plangate_client.errors import ProposalNotFound
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.planner_house import PlannerHouse, job, open_house

CALLERS = {"alice": [], "bob": ["reviewer"], "auditor": ["reviewer", "sre"]}


def caller(house: PlannerHouse, name: str) -> PlannerClient:
    client = PlannerClient(open_channel(house.planners[0].grpc.address, ChannelSettings(), token=name))
    house.clients.append(client)
    return client


@pytest.mark.asyncio
async def test_revisions_and_simulations_stay_in_scope(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    entries = [
        {"sha256": hashlib.sha256(name.encode()).hexdigest(), "identity": name, "roles": roles}
        for name, roles in CALLERS.items()
    ]
    tokens.write_text(yaml.safe_dump({"tokens": entries, "scopes": [{"identities": ["auditor"], "reads": "all"}]}))
    async with open_house(tmp_path, auth_tokens_file=tokens) as house:
        alice, bob, auditor = (caller(house, name) for name in CALLERS)
        plan = await alice.submit_plan("Refund", [job("refund_order", order="4711", amount=5)])
        await bob.submit_plan("Refund", [job("refund_order", order="4712", amount=5)])

        failures = []
        for id_ in (plan.jobs[0].proposal_id, str(uuid.uuid4())):
            with pytest.raises(ProposalNotFound) as refused:
                await bob.revise_proposal(id_, expected_version=1, description="Refund it")
            failure = refused.value.failure
            failures.append((failure.code, failure.message.replace(id_, ""), [*failure.metadata], failure.details[0]))
        assert failures[0][:3] == failures[1][:3]
        assert failures[0][3].resource_type == failures[1][3].resource_type
        own = (await bob.submit_plan("Refund", [job("refund_order", order="4713", amount=5)])).jobs[0].proposal_id
        for id_ in (plan.jobs[0].proposal_id, str(uuid.uuid4())):
            with pytest.raises(ProposalNotFound):
                await bob.revise_proposal(own, expected_version=1, depends_on=[id_])

        revised = await auditor.revise_proposal(plan.jobs[0].proposal_id, expected_version=1, description="Refund it")
        assert revised.description == "Refund it"

        frozen = planner_pb2.SimulatePolicyRequest(
            policy_yaml="version: 1\nrules:\n- {name: frozen, effect: deny, reason: freeze}"
        )
        of_bob, of_all = await bob.simulate_policy(frozen), await auditor.simulate_policy(frozen)
        assert (of_bob.jobs_evaluated, of_all.jobs_evaluated) == (2, 3)
        assert plan.id in {difference.plan_id for difference in of_all.differences}
        assert plan.id not in {difference.plan_id for difference in of_bob.differences}
