"""Plans over gRPC: stored with their proposals, queued, claimed, completed, given up, on every database."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.manual_clock import ManualClock
from tests.support.served_store import Client, failure_of, job, planned, running_store

QUEUED = plan_pb2.PLAN_STATE_QUEUED
PLANNING = plan_pb2.PLAN_STATE_PLANNING
PLANNED = plan_pb2.PLAN_STATE_PLANNED
FAILED = plan_pb2.PLAN_STATE_FAILED
CANCELLED = plan_pb2.PLAN_STATE_CANCELLED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def create(client: Client, plan: plan_pb2.Plan, **options: object) -> plan_pb2.Plan:
    return await client.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan, **options))  # type: ignore[arg-type]


async def proposals_of(client: Client, plan: plan_pb2.Plan) -> dict[str, proposal_pb2.Proposal]:
    listed = await client.proposals.ListProposals(rpc.ListProposalsRequest(filter=f"plan_id = {plan.id}"))
    return {proposal.job_id: proposal for proposal in listed.proposals}


@pytest.mark.asyncio
async def test_a_plan_is_stored_with_the_proposals_that_policy_decided(database_url: str) -> None:
    async with running_store(database_url) as store:
        plan = planned(
            job("look", "ALLOW", action_args={"path": "/var"}),
            job("clean", "REQUIRE_APPROVAL", depends_on=["look"]),
            job("wipe", "DENY"),
            job("report", "ALLOW", depends_on=["wipe"]),
            labels={"team": "ops"},
            generation={"model": "m", "attempts": [{"number": 1}]},
            context={"host": "h"},
        )
        on_behalf = (("x-plangate-on-behalf-of", "alice"),)
        request = rpc.CreatePlanRequest(plan=plan, request_id=str(uuid.uuid4()))
        stored = await store.planner.plans.CreatePlan(request, metadata=on_behalf)
        assert await store.planner.plans.CreatePlan(request, metadata=on_behalf) == stored
        assert (stored.state, stored.version, stored.created_by) == (PLANNED, 1, "alice")
        assert stored.generation == plan.generation
        assert stored.context == plan.context
        assert await store.bob.plans.GetPlan(rpc.GetPlanRequest(id=stored.id)) == stored
        ids = {job.id: job.proposal_id for job in stored.jobs}
        assert ids["wipe"] == ""
        proposals = await proposals_of(store.bob, stored)
        assert {job_id: proposal.id for job_id, proposal in proposals.items()} == {
            job_id: proposal_id for job_id, proposal_id in ids.items() if proposal_id
        }
        assert proposals["look"].state == proposal_pb2.PROPOSAL_STATE_APPROVED
        assert proposals["look"].created_by == "alice"
        assert proposals["look"].labels == {"team": "ops"}
        assert proposals["clean"].state == proposal_pb2.PROPOSAL_STATE_PENDING
        assert list(proposals["clean"].depends_on) == [proposals["look"].id]
        assert proposals["report"].state == proposal_pb2.PROPOSAL_STATE_CANCELLED
        assert (await failure_of(store.alice.approve(proposals["clean"]))).reason == "SELF_APPROVAL"
        events = (await store.bob.events.ListEvents(rpc.ListEventsRequest(filter=f"plan_id = {stored.id}"))).events
        assert {event.kind for event in events} >= {"proposal.approved_by_policy", "proposal.created"}
        assert {(event.actor, event.via) for event in events} == {("alice", "planner")}


@pytest.mark.asyncio
async def test_what_a_plan_may_not_say(database_url: str) -> None:
    async with running_store(database_url) as store:
        for plan, path in (
            (plan_pb2.Plan(prompt="p"), "plan.state"),
            (plan_pb2.Plan(state=QUEUED), "plan.prompt"),
            (plan_pb2.Plan(state=QUEUED, prompt="p" * 32769), "plan.prompt"),
            (planned(plan_pb2.Job(id="a", action_name="b")), "plan.jobs[0].decision"),
            (planned(job("a"), job("a")), "plan.jobs[1].id"),
            (planned(job("a", depends_on=["b"])), "plan.jobs[0].depends_on[0]"),
            (planned(job("a", depends_on=["b"]), job("b", depends_on=["a"])), "plan.jobs"),
            (planned(job("a", action_args={"n": 2.0**70})), "plan.jobs[0].action_args.n"),
            (planned(job("a b")), "plan.jobs[0].id"),
        ):
            failure = await failure_of(create(store.planner, plan))
            assert (failure.code, failure.metadata.get("field")) == (INVALID, path)
        missing = await failure_of(store.planner.plans.CreatePlan(rpc.CreatePlanRequest()))
        assert missing.metadata["field"] == "plan"
        unknown = await failure_of(store.planner.plans.GetPlan(rpc.GetPlanRequest(id="nope")))
        assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "PLAN_NOT_FOUND")
        listed = await store.planner.plans.ListPlans(rpc.ListPlansRequest())
        assert len(listed.plans) == 0


@pytest.mark.asyncio
async def test_the_queue_from_request_to_plan(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        low = await create(store.planner, plan_pb2.Plan(state=QUEUED, prompt="low"))
        high = await create(store.planner, plan_pb2.Plan(state=QUEUED, prompt="high", priority=5, max_attempts=2))
        claim = rpc.ClaimPlansRequest(request_id=str(uuid.uuid4()), lease_duration={"seconds": 10})
        [claimed] = (await store.planner.plans.ClaimPlans(claim)).plans
        assert (claimed.id, claimed.state, claimed.attempt) == (high.id, PLANNING, 1)
        assert (claimed.lease.worker, claimed.lease.attempt) == ("planner", 1)
        assert (await store.planner.plans.ClaimPlans(claim)).plans == [claimed]

        clock.advance(5)
        renewal = rpc.RenewPlanLeaseRequest(id=high.id, attempt=1, lease_duration={"seconds": 10})
        renewed = await store.planner.plans.RenewPlanLease(renewal)
        assert renewed.lease.expire_time.seconds == claimed.lease.expire_time.seconds + 5
        renewal.attempt = 2
        lost = await failure_of(store.planner.plans.RenewPlanLease(renewal))
        assert (lost.code, lost.reason) == (grpc.StatusCode.ABORTED, "LEASE_LOST")
        assert lost.metadata == {"attempt": "2", "current_attempt": "1"}

        failing = rpc.FailPlanningRequest(
            id=high.id,
            attempt=1,
            failure={"reason": "PROVIDER_TIMEOUT", "message": "slow"},
            retryable=True,
            retry_delay={"seconds": 7},
            generation={"model": "m"},
        )
        requeued = await store.planner.plans.FailPlanning(failing)
        assert (requeued.state, requeued.failure.reason) == (QUEUED, "PROVIDER_TIMEOUT")
        assert requeued.HasField("not_before_time")
        [other] = (await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans
        assert other.id == low.id
        assert (await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans == []
        clock.advance(7)
        [second] = (await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans
        assert (second.id, second.attempt) == (high.id, 2)
        failing.attempt = 2
        assert (await store.planner.plans.FailPlanning(failing)).state == FAILED

        complete = rpc.CompletePlanningRequest(id=low.id, attempt=1, plan=planned(job("a")))
        done = await store.planner.plans.CompletePlanning(complete)
        assert (done.state, done.objective, done.prompt) == (PLANNED, "o", "low")
        assert not done.HasField("lease")
        assert (await proposals_of(store.alice, done))["a"].state == proposal_pb2.PROPOSAL_STATE_APPROVED
        assert (await failure_of(store.planner.plans.CompletePlanning(complete))).reason == "LEASE_LOST"


@pytest.mark.asyncio
async def test_a_planner_that_is_stopped_costs_no_attempt(database_url: str) -> None:
    async with running_store(database_url) as store:
        queued = await create(store.planner, plan_pb2.Plan(state=QUEUED, prompt="look", max_attempts=1))
        stopped = {"reason": "PLANNER_STOPPED", "message": "the planner was stopped"}
        for attempt in (1, 2, 3):
            # At once: nothing is wrong with it.
            [claimed] = (await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans
            assert (claimed.id, claimed.attempt, claimed.returned_attempts) == (queued.id, attempt, attempt - 1)
            back = rpc.FailPlanningRequest(id=queued.id, attempt=attempt, failure=stopped, interrupted=True)
            given = await store.planner.plans.FailPlanning(back)
            assert (given.state, given.attempt, given.returned_attempts) == (QUEUED, attempt, attempt)
            assert (given.failure.reason, given.HasField("not_before_time")) == ("PLANNER_STOPPED", False)
            # The token of the attempt is worth nothing any more.
            assert (await failure_of(store.planner.plans.FailPlanning(back))).reason == "LEASE_LOST"
        await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())
        failing = rpc.FailPlanningRequest(id=queued.id, attempt=4, failure={"reason": "NO_LUCK"}, retryable=True)
        assert (await store.planner.plans.FailPlanning(failing)).state == FAILED
        events = await store.alice.events.ListEvents(rpc.ListEventsRequest(filter='kind = "plan.returned"'))
        assert len(events.events) == 3


@pytest.mark.asyncio
async def test_a_claim_waits_for_a_plan(database_url: str) -> None:
    async with running_store(database_url) as store:
        request = rpc.ClaimPlansRequest(wait_duration={"seconds": 20})
        waiting = asyncio.ensure_future(store.planner.plans.ClaimPlans(request))
        nothing = rpc.ClaimPlansRequest(wait_duration={"nanos": 1_000_000})
        assert (await store.planner.plans.ClaimPlans(nothing)).plans == []
        queued = await create(store.planner, plan_pb2.Plan(state=QUEUED, prompt="p"))
        async with asyncio.timeout(5):
            [claimed] = (await waiting).plans
        assert claimed.id == queued.id
        too_long = rpc.ClaimPlansRequest(wait_duration={"seconds": 61})
        assert (await failure_of(store.planner.plans.ClaimPlans(too_long))).metadata["field"] == "wait_duration"


@pytest.mark.asyncio
async def test_cancelling_and_deleting_a_plan_takes_its_proposals_along(database_url: str) -> None:
    async with running_store(database_url) as store:
        plan = await create(store.planner, planned(job("a"), job("b", "REQUIRE_APPROVAL")))
        [running] = await store.worker.claim()
        wrong = await failure_of(store.alice.plans.CancelPlan(rpc.CancelPlanRequest(id=plan.id, expected_version=7)))
        assert wrong.reason == "VERSION_CONFLICT"
        cancelled = await store.alice.plans.CancelPlan(rpc.CancelPlanRequest(id=plan.id, reason="stop"))
        assert cancelled.state == CANCELLED
        proposals = await proposals_of(store.alice, plan)
        assert proposals["a"].id == running.id
        assert proposals["a"].cancel_requested
        assert proposals["b"].state == proposal_pb2.PROPOSAL_STATE_CANCELLED
        busy = await failure_of(store.planner.plans.DeletePlan(rpc.DeletePlanRequest(id=plan.id)))
        assert busy.reason == "ILLEGAL_TRANSITION"
        # It was cancelled already: what is left is to wait for the executor.
        assert "possible: nothing" in busy.message
        await store.worker.proposals.FailProposal(
            rpc.FailProposalRequest(id=running.id, attempt=1, failure={"reason": "STOPPED"})
        )
        hidden = await store.planner.plans.DeletePlan(rpc.DeletePlanRequest(id=plan.id))
        assert hidden.HasField("delete_time")
        assert (await store.alice.plans.ListPlans(rpc.ListPlansRequest())).plans == []
        assert await proposals_of(store.alice, plan) == {}
        assert (await store.alice.plans.ListPlans(rpc.ListPlansRequest(show_deleted=True))).plans == [hidden]
        await store.planner.plans.DeletePlan(rpc.DeletePlanRequest(id=plan.id, purge=True))
        gone = await failure_of(store.alice.plans.GetPlan(rpc.GetPlanRequest(id=plan.id)))
        assert gone.reason == "PLAN_NOT_FOUND"
        assert (await store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())).valid
