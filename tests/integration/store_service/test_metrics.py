"""What a store's metrics endpoint says of proposals, executions and leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from prometheus_client.parser import text_string_to_metric_families

from tests.support.manual_clock import ManualClock
from tests.support.polling import eventually
from tests.support.ports import unused_port
from tests.support.served_store import RunningStore, running_store

LEASE_SECONDS = 5


@dataclass
class Measured:
    store: RunningStore
    clock: ManualClock
    url: str

    async def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Label values, in the order of the labels' names -> value, but for what is 0."""
        async with aiohttp.ClientSession() as session, session.get(self.url) as answer:
            text = await answer.text()
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.value
        }

    async def until(self, name: str, expected: dict[tuple[str, ...], float]) -> None:
        """Returns once the samples are these. What they are is told by the error when they never are."""
        seen: dict[tuple[str, ...], float] = {}

        async def are_there() -> bool:
            nonlocal seen
            seen = await self.samples(name)
            return seen == expected

        try:
            await eventually(are_there, timeout_seconds=10)
        except TimeoutError:
            assert seen == expected

    async def claimed(self, action_name: str, **fields: object) -> proposal_pb2.Proposal:
        """A proposal in work."""
        proposal = await self.store.alice.approve(await self.store.planner.propose(action_name, **fields))
        [claimed] = await self.store.worker.claim(lease_duration={"seconds": LEASE_SECONDS})
        assert claimed.id == proposal.id
        return claimed


@pytest_asyncio.fixture
async def measured(database_url: str) -> AsyncIterator[Measured]:
    port = unused_port()
    clock = ManualClock()
    async with running_store(
        database_url, clock=clock, metrics_listen=f"127.0.0.1:{port}", sweep_seconds=0.02
    ) as store:
        yield Measured(store, clock, f"http://127.0.0.1:{port}/metrics")


@pytest.mark.asyncio
async def test_proposals_that_have_not_ended_are_told_by_state_and_role(measured: Measured) -> None:
    store = measured.store
    await measured.until("plangate_store_database_writable", {(): 1})
    oldest = await store.planner.propose("pay", reviewer_role="finance")
    measured.clock.advance(60)
    await store.planner.propose("pay", reviewer_role="finance")
    await store.planner.propose("look")
    draft = await store.planner.propose("look", submit=False)
    await store.alice.approve(await store.planner.propose("look"))
    measured.clock.advance(30)
    expected = {("finance", "PENDING"): 2.0, ("", "PENDING"): 1.0, ("", "DRAFT"): 1.0, ("", "APPROVED"): 1.0}
    await measured.until("plangate_store_proposals", expected)
    assert await measured.samples("plangate_store_oldest_pending_seconds") == {(): 90}
    await store.as_("alice", "finance").proposals.RejectProposal(
        rpc.RejectProposalRequest(id=oldest.id, expected_version=oldest.version, reason="no")
    )
    await store.planner.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=draft.id, expected_version=draft.version))
    expected = {("finance", "PENDING"): 1.0, ("", "PENDING"): 1.0, ("", "APPROVED"): 1.0}
    await measured.until("plangate_store_proposals", expected)
    assert await measured.samples("plangate_store_oldest_pending_seconds") == {(): 30}


@pytest.mark.asyncio
async def test_roles_beyond_the_first_fifty_are_summed(measured: Measured) -> None:
    for number in range(53):
        await measured.store.planner.propose("pay", reviewer_role=f"team-{number:02}")
    for number in range(50):
        await measured.store.planner.propose("pay", reviewer_role=f"team-{number:02}")
    expected = {(f"team-{number:02}", "PENDING"): 2.0 for number in range(50)}
    await measured.until("plangate_store_proposals", {**expected, ("other", "PENDING"): 3.0})


@pytest.mark.asyncio
async def test_executions_are_counted_by_action_and_how_they_ended(measured: Measured) -> None:
    worker, planner = measured.store.worker.proposals, measured.store.planner.proposals
    done = await measured.claimed("done")
    await worker.CompleteProposal(rpc.CompleteProposalRequest(id=done.id, attempt=1))
    failed = await measured.claimed("failed")
    dependent = await measured.store.planner.propose("dependent", depends_on=[failed.id])
    failure = {"reason": "BROKEN"}
    await worker.FailProposal(rpc.FailProposalRequest(id=failed.id, attempt=1, failure=failure))
    assert (await measured.store.alice.get(dependent)).state == proposal_pb2.PROPOSAL_STATE_CANCELLED
    stopped = await measured.claimed("stopped")
    await planner.CancelProposal(rpc.CancelProposalRequest(id=stopped.id))
    await worker.FailProposal(rpc.FailProposalRequest(id=stopped.id, attempt=1, failure=failure))
    # Cancelled before it was executed.
    pending = await measured.store.planner.propose("pending")
    await planner.CancelProposal(rpc.CancelProposalRequest(id=pending.id))
    expected = {("done", "executed"): 1.0, ("failed", "failed"): 1.0, ("stopped", "cancelled"): 1.0}
    assert await measured.samples("plangate_store_executions_total") == expected
    assert await measured.samples("plangate_store_leases_lost_total") == {}


@pytest.mark.asyncio
async def test_lost_leases_and_unknown_outcomes_are_counted(measured: Measured) -> None:
    lost = await measured.claimed("lost")
    measured.clock.advance(LEASE_SECONDS)
    await measured.until("plangate_store_unresolved", {(): 1})
    await measured.claimed("again", idempotent=True, max_attempts=2)
    measured.clock.advance(LEASE_SECONDS)
    await measured.until("plangate_store_executions_total", {("lost", "unresolved"): 1, ("again", "retried"): 1})
    await measured.until("plangate_store_proposals", {("", "UNRESOLVED"): 1, ("", "APPROVED"): 1})
    planner = measured.store.planner.plans
    await planner.CreatePlan(rpc.CreatePlanRequest(plan={"prompt": "look", "state": plan_pb2.PLAN_STATE_QUEUED}))
    await planner.CreatePlan(rpc.CreatePlanRequest(plan={"prompt": "wait", "state": plan_pb2.PLAN_STATE_QUEUED}))
    await measured.until("plangate_store_plans", {("QUEUED",): 2})
    claim = rpc.ClaimPlansRequest(max_plans=1, lease_duration={"seconds": LEASE_SECONDS})
    assert len((await planner.ClaimPlans(claim)).plans) == 1
    await measured.until("plangate_store_plans", {("QUEUED",): 1, ("PLANNING",): 1})
    measured.clock.advance(LEASE_SECONDS)
    await measured.until("plangate_store_leases_lost_total", {(): 3})
    unresolved = await measured.store.alice.get(lost)
    await measured.store.as_("alice", "admin").proposals.ResolveProposal(
        rpc.ResolveProposalRequest(
            id=lost.id, expected_version=unresolved.version, resolution=rpc.RESOLUTION_DONE, reason="seen"
        )
    )
    await measured.until("plangate_store_unresolved", {})
    counted = await measured.samples("plangate_store_executions_total")
    assert counted == {("lost", "unresolved"): 1, ("again", "retried"): 1, ("lost", "resolved"): 1}
