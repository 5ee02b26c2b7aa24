"""The main job through both servers as real processes: plan, govern, approve, execute, verify the log."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import PlannerClient, StoreClient
from plangate_client.errors import IllegalTransition, JobInvalid, PlanInvalid, SelfApproval, VersionConflict
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.model_server import ModelServer, says
from tests.support.processes import ServerProcess, planner_process, store_process

CATALOGUE = """
version: 1
actions:
  - name: read_status
    description: Read the status of a service.
    risk: low
    policy: allow
    parameters:
      type: object
      properties: {service: {type: string}}
      required: [service]
  - name: restart_service
    description: Restart a service.
    risk: medium
    policy: {effect: require_approval, approvals: 1, reason: restarts interrupt people}
    parameters:
      type: object
      properties: {service: {type: string}}
      required: [service]
  - name: drop_database
    description: Drop a database.
    risk: high
    policy: {effect: deny, reason: never by machine}
    parameters:
      type: object
      properties: {name: {type: string}}
      required: [name]
"""

PENDING, APPROVED, EXECUTING, EXECUTED, REJECTED = (
    proposal_pb2.PROPOSAL_STATE_PENDING,
    proposal_pb2.PROPOSAL_STATE_APPROVED,
    proposal_pb2.PROPOSAL_STATE_EXECUTING,
    proposal_pb2.PROPOSAL_STATE_EXECUTED,
    proposal_pb2.PROPOSAL_STATE_REJECTED,
)


@dataclass
class House:
    """Both servers, the model they ask, and a client of each per identity."""

    directory: Path
    model: ModelServer
    store_server: ServerProcess
    planner_server: ServerProcess

    def store(self, actor: str) -> StoreClient:
        return StoreClient(open_channel(self.store_server.address, ChannelSettings(), actor=actor))

    def planner(self, actor: str = "alice") -> PlannerClient:
        return PlannerClient(open_channel(self.planner_server.address, ChannelSettings(), actor=actor))

    async def plan(self, *steps: tuple[str, dict[str, str]]) -> plan_pb2.Plan:
        """Ask for a plan that the model answers with these steps."""
        jobs = [{"action_name": name, "action_args": args, "depends_on": []} for name, args in steps]
        self.model.script(says({"objective": "Do it.", "jobs": jobs}))
        async with self.planner() as planner:
            # The context makes each request another one.
            request = planner_pb2.CreatePlanRequest(
                prompt=f"please {steps}",
                context=struct(run=str(uuid.uuid4())),
                order=plan_pb2.STEP_ORDER_INDEPENDENT,
            )
            return await planner.create_plan(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One pair for all tests of this file: each looks only at what it made itself."""
    tmp_path = tmp_path_factory.mktemp("house")
    catalogue_file = tmp_path / "catalogue.yaml"
    catalogue_file.write_text(CATALOGUE)
    async with ModelServer() as model, store_process(tmp_path) as store:
        environment = {
            "PLANGATE_MODEL": "openai/test-model",
            "PLANGATE_MODEL_BASE_URL": model.openai_url,
            "PLANGATE_MODEL_API_KEY": "not-a-secret",
        }
        async with planner_process(tmp_path, store.address, catalogue_file, environment) as planner:
            yield House(tmp_path, model, store, planner)


def struct(**fields: str) -> Struct:
    message = Struct()
    message.update(fields)
    return message


async def execute_next(store: StoreClient, plan: plan_pb2.Plan) -> proposal_pb2.Proposal | None:
    """Claim one proposal of the plan and complete it, as an executor does."""
    claimed = await store.proposals.claim(plan_id=plan.id, max_proposals=1)
    if not claimed:
        return None
    [proposal] = claimed
    assert proposal.state == EXECUTING
    return await store.proposals.complete(proposal.id, attempt=proposal.lease.attempt, result=struct(status="done"))


@pytest.mark.asyncio(loop_scope="module")
async def test_safe_action_runs_at_once(house: House) -> None:
    plan = await house.plan(("read_status", {"service": "checkout"}))
    [job] = plan.jobs
    assert plan.state == plan_pb2.PLAN_STATE_PLANNED
    assert job.decision.effect == plan_pb2.EFFECT_ALLOW
    async with house.store("worker") as worker:
        executed = await execute_next(worker, plan)
        assert executed is not None
        assert executed.id == job.proposal_id
        assert executed.state == EXECUTED
        assert executed.result["status"] == "done"


@pytest.mark.asyncio(loop_scope="module")
async def test_hazardous_action_makes_a_proposal_that_waits(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    [job] = plan.jobs
    assert job.decision.effect == plan_pb2.EFFECT_REQUIRE_APPROVAL
    assert job.decision.required_approvals == 1
    assert job.decision.reason == "restarts interrupt people"
    async with house.store("worker") as worker:
        proposal = await worker.proposals.get(job.proposal_id)
        assert proposal.state == PENDING
        assert proposal.created_by == "alice"
        assert await execute_next(worker, plan) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_unknown_action_is_denied(house: House) -> None:
    reply = {"objective": "Do it.", "jobs": [{"action_name": "format_disk", "action_args": {}}]}
    house.model.script(says(reply), says(reply), says(reply))
    async with house.planner() as planner, house.store("bob") as store:
        with pytest.raises(PlanInvalid) as failed:
            await planner.create_plan(planner_pb2.CreatePlanRequest(prompt="format the disk"))
        report = failed.value.generation
        assert report is not None
        assert report.attempts[0].outcome != plan_pb2.ATTEMPT_OUTCOME_VALID
        assert any("format_disk" in error.message or "action_name" in error.path for error in report.attempts[0].errors)
        with pytest.raises(JobInvalid):
            await planner.submit_plan("format", [plan_pb2.Job(id="a", action_name="format_disk")])
        assert [p async for p in store.proposals.list_all(filter='action_name = "format_disk"')] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_full_governance_create_approve_execute_verify(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    proposal_id = plan.jobs[0].proposal_id
    async with house.store("alice") as alice, house.store("bob") as bob, house.store("worker") as worker:
        pending = await bob.proposals.get(proposal_id)
        with pytest.raises(SelfApproval):
            await alice.proposals.approve(proposal_id, expected_version=pending.version)
        approved = await bob.proposals.approve(
            proposal_id, expected_version=pending.version, args_digest=pending.args_digest, comment="go ahead"
        )
        assert approved.state == APPROVED
        assert approved.version == pending.version + 1
        [approval] = approved.approvals
        assert (approval.reviewer, approval.version, approval.args_digest) == (
            "bob",
            pending.version,
            pending.args_digest,
        )
        executed = await execute_next(worker, plan)
        assert executed is not None
        assert executed.state == EXECUTED
        verified = await bob.events.verify()
        assert verified.valid
        assert verified.events_checked == verified.head_revision > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_mixed_plan_is_divided_by_policy(house: House) -> None:
    jobs = [
        plan_pb2.Job(id="look", action_name="read_status", action_args=struct(service="checkout")),
        plan_pb2.Job(id="restart", action_name="restart_service", action_args=struct(service="checkout")),
        plan_pb2.Job(id="drop", action_name="drop_database", action_args=struct(name="orders")),
    ]
    async with house.planner() as planner, house.store("worker") as worker:
        plan = await planner.submit_plan("Look, restart, drop.", jobs)
        look, restart, drop = plan.jobs
        assert [job.decision.effect for job in plan.jobs] == [
            plan_pb2.EFFECT_ALLOW,
            plan_pb2.EFFECT_REQUIRE_APPROVAL,
            plan_pb2.EFFECT_DENY,
        ]
        assert drop.proposal_id == ""
        assert drop.decision.reason == "never by machine"
        states = {p.job_id: p.state async for p in worker.proposals.list_all(filter=f'plan_id = "{plan.id}"')}
        assert states == {"look": APPROVED, "restart": PENDING}
        executed = await execute_next(worker, plan)
        assert executed is not None
        assert executed.id == look.proposal_id
        assert await execute_next(worker, plan) is None
        assert (await worker.proposals.get(restart.proposal_id)).state == PENDING


@pytest.mark.asyncio(loop_scope="module")
async def test_rejection_is_final(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    proposal_id = plan.jobs[0].proposal_id
    async with house.store("bob") as bob:
        rejected = await bob.proposals.reject(proposal_id, expected_version=1, reason="not during the sale")
        assert rejected.state == REJECTED
        assert rejected.failure.message == "not during the sale"
        with pytest.raises(IllegalTransition) as refused:
            await bob.proposals.approve(proposal_id, expected_version=rejected.version)
        assert refused.value.metadata["state"] == "REJECTED"
        with pytest.raises(IllegalTransition):
            await bob.proposals.cancel(proposal_id)
        assert await execute_next(bob, plan) is None
        assert (await bob.proposals.get(proposal_id)).version == rejected.version


@pytest.mark.asyncio(loop_scope="module")
async def test_audit_trail_is_complete_and_in_order(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    proposal_id = plan.jobs[0].proposal_id
    async with house.store("bob") as bob, house.store("worker") as worker:
        await bob.proposals.approve(proposal_id, expected_version=1, comment="seen")
        await execute_next(worker, plan)
        everything = [event async for event in bob.events.list_all()]
        assert [event.revision for event in everything] == list(range(1, len(everything) + 1))
        assert all(later.prev_hash == earlier.hash for earlier, later in itertools.pairwise(everything))
        trail = [event for event in everything if event.entity_id == proposal_id]
        assert [event.version for event in trail] == [1, 2, 3, 4]
        assert [event.actor for event in trail] == ["alice", "bob", "worker", "worker"]
        assert trail[0].via == "planner"
        assert trail[1].comment == "seen"
        assert not any(event.authenticated for event in trail)
        last = proposal_pb2.Proposal.FromString(trail[-1].snapshot)
        assert last == await bob.proposals.get(proposal_id)


@pytest.mark.asyncio(loop_scope="module")
async def test_concurrent_approvals_of_one_proposal_give_one_winner(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    proposal_id = plan.jobs[0].proposal_id

    async def approve(number: int) -> proposal_pb2.Proposal:
        async with house.store(f"reviewer-{number}") as reviewer:
            return await reviewer.proposals.approve(proposal_id, expected_version=1)

    outcomes = await asyncio.gather(*(approve(number) for number in range(20)), return_exceptions=True)
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, VersionConflict)]
    assert len(conflicts) == 19
    assert all(c.metadata == {"expected_version": "1", "current_version": "2"} for c in conflicts)
    async with house.store("bob") as bob:
        proposal = await bob.proposals.get(proposal_id)
        assert (proposal.state, proposal.version, len(proposal.approvals)) == (APPROVED, 2, 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_concurrent_proposals_all_arrive(house: House) -> None:
    async def submit(number: int) -> str:
        job = plan_pb2.Job(action_name="restart_service", action_args=struct(service=f"service-{number}"))
        async with house.planner(f"requester-{number}") as planner:
            plan = await planner.submit_plan(f"Restart {number}.", [job])
            return plan.jobs[0].proposal_id

    ids = await asyncio.gather(*(submit(number) for number in range(25)))
    async with house.store("bob") as bob:
        everything = {proposal.id: proposal async for proposal in bob.proposals.list_all(page_size=7)}
        assert len(set(ids)) == 25
        assert {everything[proposal_id].created_by for proposal_id in ids} == {f"requester-{n}" for n in range(25)}
        assert (await bob.events.verify()).valid


@pytest.mark.asyncio(loop_scope="module")
async def test_wal_is_on(house: House) -> None:
    await house.plan(("read_status", {"service": "checkout"}))
    assert (house.directory / "plangate.db-wal").exists()
    connection = sqlite3.connect(f"file:{house.directory}/plangate.db?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_version_increments_with_every_change(house: House) -> None:
    plan = await house.plan(("restart_service", {"service": "checkout"}))
    proposal_id = plan.jobs[0].proposal_id
    async with house.store("bob") as bob, house.store("worker") as worker, house.planner() as planner:
        seen = [(await bob.proposals.get(proposal_id)).version]
        revised = await planner.revise_proposal(proposal_id, expected_version=1, action_args=struct(service="search"))
        seen.append(revised.version)
        assert revised.action_args["service"] == "search"
        with pytest.raises(VersionConflict):
            await bob.proposals.approve(proposal_id, expected_version=1)
        seen.append((await bob.proposals.approve(proposal_id, expected_version=2)).version)
        executed = await execute_next(worker, plan)
        assert executed is not None
        seen.append(executed.version)
        assert seen == [1, 2, 3, 5]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_acknowledged_survives_kill_of_both_servers(house: House) -> None:
    plans = [await house.plan(("restart_service", {"service": f"service-{n}"})) for n in range(3)]
    async with house.store("bob") as bob:
        approved = await bob.proposals.approve(plans[0].jobs[0].proposal_id, expected_version=1)
    await asyncio.gather(house.store_server.kill(), house.planner_server.kill())
    await house.store_server.restart()
    await house.planner_server.restart()
    async with house.store("bob") as bob:
        for plan in plans:
            assert (await bob.plans.get(plan.id)).jobs == plan.jobs
        assert await bob.proposals.get(approved.id) == approved
        assert (await bob.events.verify()).valid
    assert (await house.plan(("read_status", {"service": "checkout"}))).jobs
