"""The yes is looked at again when policy changes: over gRPC, on every database."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import identity_service_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.polling import eventually
from tests.support.served_store import Client, RunningStore, failure_of, planned, running_store

PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED


def decided(effect: plan_pb2.Effect.ValueType, digest: str, **fields: object) -> plan_pb2.Decision:
    return plan_pb2.Decision(**{"effect": effect, "governance_digest": digest, "rule": "refunds", **fields})


async def stored(store: RunningStore, *decisions: plan_pb2.Decision) -> list[proposal_pb2.Proposal]:
    jobs = [plan_pb2.Job(id=f"j{number}", action_name="act", decision=each) for number, each in enumerate(decisions)]
    plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(*jobs)))
    return [await store.alice.get(job.proposal_id) for job in plan.jobs]


async def in_force(store: RunningStore, digest: str) -> None:
    await store.planner.proposals.SetGovernance(rpc.SetGovernanceRequest(digest=digest))
    assert (await store.planner.proposals.GetGovernance(rpc.GetGovernanceRequest())).digest == digest


async def reconsider(
    store: RunningStore, *entries: tuple[proposal_pb2.Proposal, plan_pb2.Decision]
) -> list[proposal_pb2.Proposal]:
    request = rpc.ReconsiderProposalsRequest()
    for proposal, decision in entries:
        request.reconsiderations.add(id=proposal.id, expected_version=proposal.version, decision=decision)
    return list((await store.planner.proposals.ReconsiderProposals(request)).proposals)


@pytest.mark.asyncio
async def test_what_was_decided_under_another_policy_is_not_handed_out(database_url: str) -> None:
    allow, deny, ask = plan_pb2.EFFECT_ALLOW, plan_pb2.EFFECT_DENY, plan_pb2.EFFECT_REQUIRE_APPROVAL
    async with running_store(database_url) as store:
        await in_force(store, "old")
        made = await stored(store, *(decided(allow, "old") for _ in range(3)), decided(ask, "old"))
        agreed = await store.bob.approve(made[3])
        free = await store.bob.approve(await store.as_("root", "admin").propose("act"))
        await in_force(store, "new")
        # Policy decided nothing on what an admin wrote, so there is nothing to look at again.
        assert [each.id for each in await store.worker.claim(max_proposals=10)] == [free.id]
        same, denied, asked, more = await reconsider(
            store,
            (made[0], decided(allow, "new")),
            (made[1], decided(deny, "new", reason="not any more")),
            (made[2], decided(ask, "new", required_approvals=1, reviewer_role="finance")),
            (agreed, decided(ask, "new", required_approvals=2)),
        )
        assert same.state == APPROVED
        assert [(each.state, each.notices[-1].reason) for each in (denied, asked, more)] == [
            (PENDING, "BACK_TO_REVIEW")
        ] * 3
        assert denied.notices[-1].message == "not any more"
        assert (asked.required_approvals, asked.reviewer_role) == (1, "finance")
        assert (more.required_approvals, [each.reviewer for each in more.earlier_approvals]) == (2, ["bob"])
        assert [each.id for each in await store.worker.claim(max_proposals=10)] == [same.id]
        failure = await failure_of(store.bob.approve(denied))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")
        for admin in (store.as_("root", "admin"), store.as_("dora", "admin")):
            request = rpc.BreakGlassRequest(id=denied.id, expected_version=denied.version, reason="now")
            assert (await failure_of(admin.proposals.BreakGlass(request))).reason == "POLICY_DENIED"
        # A corrected file makes it approvable again; it stays with people.
        [mended] = await reconsider(store, (denied, decided(allow, "new")))
        assert mended.state == PENDING
        assert (await store.bob.approve(mended)).state == APPROVED
        assert [each.id for each in await store.worker.claim(max_proposals=10)] == [denied.id]
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.problem) == (True, "")


@pytest.mark.asyncio
async def test_requirements_are_raised_and_never_lowered(database_url: str) -> None:
    async with running_store(database_url) as store:
        ask = plan_pb2.EFFECT_REQUIRE_APPROVAL
        [pending] = await stored(store, decided(ask, "old", required_approvals=2, reviewer_role="finance"))
        [kept] = await reconsider(store, (pending, decided(ask, "new", required_approvals=1)))
        assert (kept.required_approvals, kept.reviewer_role, kept.decision.governance_digest) == (2, "finance", "new")
        [more] = await reconsider(store, (kept, decided(ask, "new", required_approvals=1, reviewer_role="legal")))
        assert [(each.role, each.count) for each in more.approvals_missing] == [("finance", 2), ("legal", 1)]
        # Of another version: skipped.
        assert await reconsider(store, (pending, decided(ask, "new", required_approvals=9))) == []


@pytest.mark.asyncio
async def test_only_planners_say_what_is_in_force(database_url: str) -> None:
    async with running_store(database_url) as store:
        await in_force(store, "one")
        root = store.as_("root", "admin").proposals
        for call in (
            root.SetGovernance(rpc.SetGovernanceRequest(digest="mine")),
            root.GetGovernance(rpc.GetGovernanceRequest()),
            root.ReconsiderProposals(rpc.ReconsiderProposalsRequest()),
        ):
            assert (await failure_of(call)).reason == "ROLE_MISSING"
        empty = store.planner.proposals.ReconsiderProposals(rpc.ReconsiderProposalsRequest())
        assert (await failure_of(empty)).metadata == {"field": "reconsiderations"}
    async with running_store(database_url) as store:
        found = await store.planner.proposals.GetGovernance(rpc.GetGovernanceRequest())
        assert (found.planner, found.digest) == ("planner", "one"), "a restart forgets nothing"
        await in_force(store, "")


@pytest.mark.asyncio
async def test_what_is_not_handed_out_keeps_nothing_else_back(database_url: str) -> None:
    async with running_store(database_url) as store:
        await in_force(store, "old")
        waiting = await stored(store, *(decided(plan_pb2.EFFECT_ALLOW, "old") for _ in range(3)))
        await in_force(store, "new")
        [later] = await stored(store, decided(plan_pb2.EFFECT_ALLOW, "new"))
        assert [each.id for each in await store.worker.claim(max_proposals=1)] == [later.id]
        await in_force(store, "old")
        assert [each.id for each in await store.worker.claim(max_proposals=10)] == [each.id for each in waiting]


def _write_tokens(file: Path, roles: Mapping[str, str]) -> None:
    entries = [
        f"  - {{sha256: {hashlib.sha256(name.encode()).hexdigest()}, identity: {name}, roles: [{held}]}}"
        for name, held in roles.items()
    ]
    file.write_text("tokens:\n" + "\n".join(entries))


@pytest.mark.asyncio
async def test_the_yes_of_a_reviewer_who_lost_the_role_does_not_count(database_url: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    roles = {"planner": "planner", "worker": "executor", "bob": "reviewer, finance", "fay": "reviewer, finance"}
    _write_tokens(tokens, roles)
    async with running_store(database_url, auth_tokens_file=tokens) as store:
        planner, worker, bob, fay = (
            Client(open_channel(store.target, ChannelSettings(), token=name)) for name in roles
        )
        ask = decided(plan_pb2.EFFECT_REQUIRE_APPROVAL, "", required_approvals=1, reviewer_role="finance")
        jobs = [plan_pb2.Job(id=name, action_name="act", decision=ask) for name in ("a", "b")]
        plan = await planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(*jobs)))
        by_bob, by_fay = (job.proposal_id for job in plan.jobs)
        assert (await bob.approve(await bob.get(by_bob))).state == APPROVED
        assert (await fay.approve(await fay.get(by_fay))).state == APPROVED
        _write_tokens(tokens, {**roles, "bob": "reviewer"})

        async def has_lost_it() -> bool:
            return "finance" not in (await bob.identity.WhoAmI(identity_service_pb2.WhoAmIRequest())).roles

        await eventually(has_lost_it)
        assert [each.id for each in await worker.claim(max_proposals=10)] == [by_fay]
        returned = await fay.get(by_bob)
        assert (returned.state, returned.notices[-1].reason) == (PENDING, "BACK_TO_REVIEW")
        assert returned.notices[-1].message == "bob does not have the role finance any more"
        assert [each.reviewer for each in returned.earlier_approvals] == ["bob"]
        assert (await failure_of(bob.approve(returned))).reason == "REVIEWER_ROLE_MISSING"
        assert (await fay.approve(returned)).state == APPROVED
        assert [each.id for each in await worker.claim(max_proposals=10)] == [by_bob]
        events = await fay.events.ListEvents(rpc.ListEventsRequest(filter=f'entity_id = "{by_bob}"'))
        assert "proposal.returned_to_review" in [each.kind for each in events.events]
        assert (await fay.events.VerifyEvents(rpc.VerifyEventsRequest())).valid
        for client in (planner, worker, bob, fay):
            await client.channel.close()
