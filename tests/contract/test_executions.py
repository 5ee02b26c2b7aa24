"""Executing over gRPC: claims, leases, reports, dependencies, on every database."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.manual_clock import ManualClock
from tests.support.polling import until
from tests.support.served_store import RunningStore, failure_of, job, planned, running_store

APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
EXECUTING = proposal_pb2.PROPOSAL_STATE_EXECUTING
EXECUTED = proposal_pb2.PROPOSAL_STATE_EXECUTED
FAILED = proposal_pb2.PROPOSAL_STATE_FAILED
CANCELLED = proposal_pb2.PROPOSAL_STATE_CANCELLED
EXPIRED = proposal_pb2.PROPOSAL_STATE_EXPIRED


async def approved(store: RunningStore, action_name: str = "a", **options: object) -> proposal_pb2.Proposal:
    return await store.alice.approve(await store.planner.propose(action_name, **options))


@pytest.mark.asyncio
async def test_claim_renew_complete(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, lease_seconds=30) as store:
        ready = await approved(store)
        claim = {"request_id": str(uuid.uuid4())}
        [claimed] = await store.worker.claim(**claim)
        assert (claimed.id, claimed.state, claimed.attempt, claimed.version) == (ready.id, EXECUTING, 1, 3)
        assert (claimed.lease.worker, claimed.lease.attempt) == ("worker", 1)
        assert await store.worker.claim(**claim) == [claimed]
        assert await store.worker.claim() == []
        clock.advance(10)
        renewed = await store.worker.proposals.RenewLease(rpc.RenewLeaseRequest(id=ready.id, attempt=1))
        assert renewed.lease.expire_time.seconds == claimed.lease.expire_time.seconds + 10
        for client, attempt in ((store.worker, 2), (store.bob, 1)):
            complete = rpc.CompleteProposalRequest(id=ready.id, attempt=attempt, result={"ok": True})
            lost = await failure_of(client.proposals.CompleteProposal(complete))
            assert (lost.code, lost.reason) == (grpc.StatusCode.ABORTED, "LEASE_LOST")
        complete = rpc.CompleteProposalRequest(
            id=ready.id, attempt=1, result={"exit_status": 0}, request_id=str(uuid.uuid4())
        )
        done = await store.worker.proposals.CompleteProposal(complete)
        assert (done.state, done.result["exit_status"]) == (EXECUTED, 0)
        assert not done.HasField("lease")
        assert await store.worker.proposals.CompleteProposal(complete) == done


@pytest.mark.asyncio
async def test_claims_by_action_priority_and_plan(database_url: str) -> None:
    async with running_store(database_url) as store:
        low = await approved(store, "a", priority=-1)
        high = await approved(store, "a", priority=9)
        other = await approved(store, "b")
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job("j", action_name="c"))))
        assert [p.id for p in await store.worker.claim(action_names=["b"], max_proposals=9)] == [other.id]
        assert [p.job_id for p in await store.worker.claim(plan_id=plan.id, max_proposals=9)] == ["j"]
        claimed = await store.worker.claim(max_proposals=500)
        assert [p.id for p in claimed] == [high.id, low.id]
        for wrong, field in (
            ({"max_proposals": -1}, "max_proposals"),
            ({"lease_duration": {"nanos": 1}}, "lease_duration"),
            ({"lease_duration": {"seconds": 3601}}, "lease_duration"),
            ({"action_names": [""]}, "action_names"),
            ({"wait_duration": {"seconds": -1}}, "wait_duration"),
        ):
            assert (await failure_of(store.worker.claim(**wrong))).metadata["field"] == field


@pytest.mark.asyncio
async def test_dependencies_are_executed_first_and_failures_are_passed_on(database_url: str) -> None:
    async with running_store(database_url) as store:
        plan = await store.planner.plans.CreatePlan(
            rpc.CreatePlanRequest(plan=planned(job("a"), job("b", depends_on=["a"]), job("c", depends_on=["b"])))
        )
        ids = {job.id: job.proposal_id for job in plan.jobs}
        [first] = await store.worker.claim(max_proposals=9)
        assert first.id == ids["a"]
        waiting = asyncio.ensure_future(store.worker.claim(wait_duration={"seconds": 20}))
        await store.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=ids["a"], attempt=1))
        async with asyncio.timeout(5):
            [second] = await waiting
        assert second.id == ids["b"]
        failed = await store.worker.proposals.FailProposal(
            rpc.FailProposalRequest(
                id=ids["b"], attempt=1, failure={"reason": "BROKEN", "message": "m"}, result={"x": 1}
            )
        )
        assert (failed.state, failed.failure.reason, failed.result["x"]) == (FAILED, "BROKEN", 1)
        last = await store.alice.get(ids["c"])
        assert last.state == CANCELLED
        assert last.failure.message


@pytest.mark.asyncio
async def test_retries_after_a_pause_until_attempts_are_spent(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        proposal = await approved(store, max_attempts=2)
        await store.worker.claim()
        failure = rpc.FailProposalRequest(
            id=proposal.id, attempt=1, failure={"reason": "BUSY"}, retryable=True, retry_delay={"seconds": 60}
        )
        again = await store.worker.proposals.FailProposal(failure)
        assert (again.state, again.attempt) == (APPROVED, 1)
        assert await store.worker.claim() == []
        clock.advance(60)
        [second] = await store.worker.claim()
        assert second.attempt == 2
        failure.attempt = 2
        assert (await store.worker.proposals.FailProposal(failure)).state == FAILED
        wrong = rpc.FailProposalRequest(id=proposal.id, attempt=2, failure={"reason": "not upper"})
        assert (await failure_of(store.worker.proposals.FailProposal(wrong))).metadata["field"] == "failure.reason"


@pytest.mark.asyncio
async def test_a_cancel_request_reaches_the_executor(database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await approved(store)
        await store.worker.claim()
        asked = await store.alice.proposals.CancelProposal(rpc.CancelProposalRequest(id=proposal.id))
        assert (asked.state, asked.cancel_requested) == (EXECUTING, True)
        renewed = await store.worker.proposals.RenewLease(rpc.RenewLeaseRequest(id=proposal.id, attempt=1))
        assert renewed.cancel_requested
        stopped = await store.worker.proposals.FailProposal(
            rpc.FailProposalRequest(id=proposal.id, attempt=1, failure={"reason": "CANCELLED"}, retryable=True)
        )
        assert stopped.state == CANCELLED


@pytest.mark.asyncio
async def test_the_sweeper_takes_leases_back_and_ends_what_waited_too_long(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=0.02) as store:
        leased = await approved(store, max_attempts=2, idempotent=True)
        in_a_minute = {"seconds": int(clock.now().timestamp()) + 60}
        pending = await store.planner.propose("b", expire_time=in_a_minute)
        await store.worker.claim(lease_duration={"seconds": 5})
        clock.advance(5)
        waiting = asyncio.ensure_future(store.bob.claim(wait_duration={"seconds": 20}))
        async with asyncio.timeout(5):
            [claimed] = await waiting
        assert (claimed.id, claimed.attempt, claimed.lease.worker) == (leased.id, 2, "bob")
        late = rpc.CompleteProposalRequest(id=leased.id, attempt=1)
        assert (await failure_of(store.worker.proposals.CompleteProposal(late))).reason == "LEASE_LOST"
        clock.advance(60)

        states: dict[str, int] = {}

        async def look() -> None:
            for proposal in (leased, pending):
                states[proposal.id] = (await store.alice.get(proposal)).state

        async with asyncio.timeout(10):
            while states.get(pending.id) != EXPIRED or states.get(leased.id) != FAILED:
                await look()
        listed = await store.alice.events.ListEvents(rpc.ListEventsRequest(filter='actor = "system:sweeper"'))
        assert {event.kind for event in listed.events} == {
            "proposal.retried",
            "proposal.failed",
            "proposal.expired",
        }


@pytest.mark.asyncio
async def test_what_waited_too_long_is_neither_reviewed_nor_claimed_before_the_sweeper_comes(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=3600) as store:
        in_a_minute = {"seconds": int(clock.now().timestamp()) + 60}
        draft = await store.planner.propose("b", submit=False, expire_time=in_a_minute)
        pending = await store.planner.propose("b", required_approvals=2, expire_time=in_a_minute)
        pending = await store.alice.approve(pending)
        ready = await approved(store, priority=1, expire_time=in_a_minute)
        lasting = await approved(store)
        clock.advance(60)
        proposals = store.planner.proposals
        mask = {"paths": ["description"]}
        change = rpc.UpdateProposalRequest(proposal={"id": pending.id}, update_mask=mask, expected_version=2)
        for call in (
            proposals.SubmitProposal(rpc.SubmitProposalRequest(id=draft.id)),
            proposals.UpdateProposal(change),
            store.bob.approve(pending),
            store.alice.proposals.WithdrawApproval(rpc.WithdrawApprovalRequest(id=pending.id)),
            store.bob.proposals.RejectProposal(
                rpc.RejectProposalRequest(id=pending.id, expected_version=2, reason="no")
            ),
        ):
            failure = await failure_of(call)
            assert (failure.reason, failure.metadata["state"]) == ("ILLEGAL_TRANSITION", "EXPIRED")
        # What has expired does not stand in the way of what has not.
        [claimed] = await store.worker.claim(action_names=[ready.action_name])
        assert claimed.id == lasting.id
        assert await store.worker.claim(max_proposals=10) == []


@pytest.mark.asyncio
async def test_what_was_not_begun_costs_no_attempt(database_url: str) -> None:
    async with running_store(database_url) as store:
        ready = await approved(store, max_attempts=1)
        stopped = {"reason": "EXECUTOR_STOPPED", "message": "before it began"}
        for attempt in (1, 2, 3):
            [claimed] = await store.worker.claim()
            assert (claimed.id, claimed.attempt, claimed.returned_attempts) == (ready.id, attempt, attempt - 1)
            back = rpc.FailProposalRequest(id=ready.id, attempt=attempt, failure=stopped, not_started=True)
            given = await store.worker.proposals.FailProposal(back)
            assert (given.state, given.attempt, given.returned_attempts) == (APPROVED, attempt, attempt)
            assert given.failure.reason == "EXECUTOR_STOPPED"
            # The token of the attempt is worth nothing any more.
            assert (await failure_of(store.worker.proposals.FailProposal(back))).reason == "LEASE_LOST"
        [claimed] = await store.worker.claim()
        with_result = rpc.FailProposalRequest(
            id=ready.id, attempt=4, failure=stopped, not_started=True, result={"exit_status": 1}
        )
        assert (await failure_of(store.worker.proposals.FailProposal(with_result))).metadata["field"] == "result"
        failed = await store.worker.proposals.FailProposal(
            rpc.FailProposalRequest(id=ready.id, attempt=4, failure=stopped, retryable=True)
        )
        assert failed.state == FAILED
        events = await store.alice.events.ListEvents(rpc.ListEventsRequest(filter='kind = "proposal.returned"'))
        assert len(events.events) == 3


@pytest.mark.asyncio
async def test_what_is_given_back_after_a_cancel_is_cancelled(database_url: str) -> None:
    async with running_store(database_url) as store:
        await approved(store)
        [claimed] = await store.worker.claim()
        await store.alice.proposals.CancelProposal(rpc.CancelProposalRequest(id=claimed.id))
        back = rpc.FailProposalRequest(id=claimed.id, attempt=1, failure={"reason": "STOPPED"}, not_started=True)
        assert (await store.worker.proposals.FailProposal(back)).state == CANCELLED


@pytest.mark.asyncio
async def test_one_approval_wakes_one_of_many_who_wait(database_url: str) -> None:
    async with running_store(database_url) as store:
        waiting = [asyncio.ensure_future(store.worker.claim(wait_duration={"seconds": 30})) for _ in range(8)]
        for number in range(3):
            await approved(store)
            await until(lambda number=number: sum(w.done() for w in waiting) == number + 1)  # type: ignore[misc]
        claimed = [claim.result()[0].id for claim in waiting if claim.done()]
        assert len(set(claimed)) == 3
        # Those whose clients go away leave no claim behind.
        for claim in waiting:
            claim.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        left = await approved(store)
        assert [p.id for p in await store.bob.claim()] == [left.id]
