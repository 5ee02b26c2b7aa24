"""An outcome nobody knows is no guess: over gRPC, on every database."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.manual_clock import ManualClock
from tests.support.served_store import RunningStore, failure_of, planned, running_store

PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
EXECUTING = proposal_pb2.PROPOSAL_STATE_EXECUTING
EXECUTED = proposal_pb2.PROPOSAL_STATE_EXECUTED
FAILED = proposal_pb2.PROPOSAL_STATE_FAILED
UNRESOLVED = proposal_pb2.PROPOSAL_STATE_UNRESOLVED
ALLOW = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW, rule="refunds")
SWEEP_SECONDS = 0.02


async def approved(store: RunningStore, action_name: str = "refund", **fields: object) -> proposal_pb2.Proposal:
    return await store.alice.approve(await store.planner.propose(action_name, **fields))


async def in_state(store: RunningStore, proposal: proposal_pb2.Proposal, state: int) -> proposal_pb2.Proposal:
    """The proposal once the sweeper has brought it there."""
    async with asyncio.timeout(10):
        while (found := await store.alice.get(proposal)).state != state:
            pass
    return found


async def unresolved(store: RunningStore, clock: ManualClock, **fields: object) -> proposal_pb2.Proposal:
    """A proposal whose executor never reported."""
    proposal = await approved(store, **fields)
    [claimed] = await store.worker.claim(lease_duration={"seconds": 5})
    assert claimed.id == proposal.id
    clock.advance(5)
    return await in_state(store, proposal, UNRESOLVED)


def resolve(proposal: proposal_pb2.Proposal, resolution: int, **fields: object) -> rpc.ResolveProposalRequest:
    return rpc.ResolveProposalRequest(
        **{
            "id": proposal.id,
            "expected_version": proposal.version,
            "resolution": resolution,
            "reason": "seen at the bank",
            **fields,
        }
    )


@pytest.mark.asyncio
async def test_a_lost_execution_waits_for_somebody_who_knows(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=SWEEP_SECONDS) as store:
        lost = await unresolved(store, clock, max_attempts=5)
        assert (lost.lease.worker, lost.lease.attempt, lost.failure.reason) == ("worker", 1, "LEASE_EXPIRED")
        assert lost.lease.expire_time.ToMicroseconds() <= clock.now().timestamp() * 1_000_000
        assert await store.worker.claim() == []
        clock.advance(3600)
        assert (await in_state(store, lost, UNRESOLVED)).version == lost.version, "it is left alone"

        for wrong, field in (
            (resolve(lost, rpc.RESOLUTION_UNSPECIFIED), "resolution"),
            (resolve(lost, rpc.RESOLUTION_DONE, reason=" "), "reason"),
            (resolve(lost, rpc.RESOLUTION_DONE, expected_version=0), "expected_version"),
            (resolve(lost, rpc.RESOLUTION_DONE, retry=True), "retry"),
            (resolve(lost, rpc.RESOLUTION_NOT_DONE, result={"a": 1}), "result"),
        ):
            assert (await failure_of(store.bob.proposals.ResolveProposal(wrong))).metadata == {"field": field}
        by_model = store.planner.proposals.ResolveProposal(resolve(lost, rpc.RESOLUTION_DONE))
        assert (await failure_of(by_model)).reason == "MODEL_APPROVAL"
        stale = resolve(lost, rpc.RESOLUTION_DONE, expected_version=lost.version - 1)
        assert (await failure_of(store.bob.proposals.ResolveProposal(stale))).reason == "VERSION_CONFLICT"

        done = await store.bob.proposals.ResolveProposal(resolve(lost, rpc.RESOLUTION_DONE, result={"refund": "r1"}))
        assert (done.state, done.result["refund"], done.HasField("lease")) == (EXECUTED, "r1", False)
        again = store.bob.proposals.ResolveProposal(resolve(done, rpc.RESOLUTION_DONE))
        assert (await failure_of(again)).reason == "ILLEGAL_TRANSITION"
        listed = await store.alice.events.ListEvents(rpc.ListEventsRequest(filter=f'entity_id = "{lost.id}"'))
        assert [(event.kind, event.actor, event.comment) for event in listed.events][-2:] == [
            ("proposal.unresolved", "system:sweeper", ""),
            ("proposal.resolved", "bob", "seen at the bank"),
        ]


@pytest.mark.asyncio
async def test_what_was_not_done_is_done_again_only_when_somebody_says_so(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=SWEEP_SECONDS) as store:
        lost = await unresolved(store, clock)
        retried = await store.bob.proposals.ResolveProposal(resolve(lost, rpc.RESOLUTION_NOT_DONE, retry=True))
        assert retried.state == APPROVED
        [claimed] = await store.worker.claim(lease_duration={"seconds": 5})
        assert (claimed.id, claimed.attempt) == (lost.id, 2)
        clock.advance(5)
        lost = await in_state(store, lost, UNRESOLVED)
        failed = await store.worker.proposals.ResolveProposal(resolve(lost, rpc.RESOLUTION_NOT_DONE))
        assert (failed.state, failed.failure.reason, failed.failure.message) == (FAILED, "NOT_DONE", "seen at the bank")


@pytest.mark.asyncio
async def test_the_executors_late_report_counts_and_nobody_elses(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=SWEEP_SECONDS) as store:
        lost = await unresolved(store, clock)
        report = rpc.CompleteProposalRequest(id=lost.id, attempt=1, result={"refund": "r1"})
        renewal = rpc.RenewLeaseRequest(id=lost.id, attempt=1)
        assert (await failure_of(store.worker.proposals.RenewLease(renewal))).reason == "LEASE_LOST"
        assert (await failure_of(store.bob.proposals.CompleteProposal(report))).reason == "LEASE_LOST"
        done = await store.worker.proposals.CompleteProposal(report)
        assert (done.state, done.result["refund"]) == (EXECUTED, "r1")


@pytest.mark.asyncio
async def test_what_may_be_done_twice_is_done_again_by_itself(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=SWEEP_SECONDS) as store:
        proposal = await approved(store, idempotent=True, max_attempts=2)
        await store.worker.claim(lease_duration={"seconds": 5})
        clock.advance(5)
        await in_state(store, proposal, APPROVED)
        [claimed] = await store.worker.claim()
        assert (claimed.id, claimed.attempt) == (proposal.id, 2)


@pytest.mark.asyncio
async def test_one_effect_is_in_work_once(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=SWEEP_SECONDS) as store:
        first = await approved(store, effect_key="refund:4711")
        second = await approved(store, effect_key="refund:4711", priority=9)
        other = await approved(store, effect_key="refund:1")
        claimed = await store.worker.claim(max_proposals=10, lease_duration={"seconds": 5})
        assert [each.id for each in claimed] == [second.id, other.id]
        assert await store.worker.claim(max_proposals=10) == []
        # Whoever does not know what came of the first cannot begin the second.
        await store.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=other.id, attempt=1))
        clock.advance(5)
        lost = await in_state(store, second, UNRESOLVED)
        assert await store.worker.claim(max_proposals=10) == []
        await store.bob.proposals.ResolveProposal(resolve(lost, rpc.RESOLUTION_DONE))
        assert [each.id for each in await store.worker.claim(max_proposals=10)] == [first.id]


@pytest.mark.asyncio
async def test_two_claims_in_one_batch_do_not_take_one_effect_twice(database_url: str) -> None:
    async with running_store(database_url) as store:
        for _ in range(6):
            await approved(store, effect_key="refund:4711")
        claims = await asyncio.gather(*(store.worker.claim(max_proposals=3) for _ in range(6)))
        assert sum(map(len, claims)) == 1


@pytest.mark.asyncio
async def test_a_second_proposal_of_one_effect_says_so_before_anybody_approves(database_url: str) -> None:
    async with running_store(database_url) as store:
        first = await store.planner.propose("refund", effect_key="refund:4711")
        assert list(first.notices) == []
        job = plan_pb2.Job(id="a", action_name="refund", effect_key="refund:4711", decision=ALLOW)
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)))
        second = await store.alice.get(plan.jobs[0].proposal_id)
        assert (second.state, second.required_approvals, await store.worker.claim()) == (PENDING, 1, [])
        [notice] = second.notices
        assert (notice.reason, notice.proposal_id) == ("SAME_EFFECT", first.id)
        third = await store.planner.propose("refund", effect_key="refund:4711")
        assert {each.proposal_id for each in third.notices} == {first.id, second.id}
        # What ended without its effect is nothing to worry about.
        for each in (first, second, third):
            request = rpc.RejectProposalRequest(id=each.id, expected_version=each.version, reason="no")
            await store.alice.proposals.RejectProposal(request)
        assert list((await store.planner.propose("refund", effect_key="refund:4711")).notices) == []


@pytest.mark.asyncio
async def test_only_those_who_may_resolve_do(database_url: str) -> None:
    async with running_store(database_url) as store:
        request = rpc.ResolveProposalRequest(id="nobody", expected_version=1, resolution=1, reason="r")
        failure = await failure_of(store.bob.proposals.ResolveProposal(request))
        assert failure.code is grpc.StatusCode.NOT_FOUND
