"""Plans: with their proposals in one transaction, and through the queue."""

from __future__ import annotations

import asyncio

import pytest
from plangate.plan.v1 import plan_pb2

from store_service.commands import (
    ApproveProposal,
    CancelPlan,
    ClaimPlans,
    ClaimProposals,
    CompletePlanning,
    CompleteProposal,
    CreatePlan,
    DeletePlan,
    FailPlanning,
    RenewPlanLease,
)
from store_service.commands.working_set import Needs, WorkingSet
from store_service.domain.actor import Actor
from store_service.domain.errors import (
    IllegalTransition,
    LeaseLost,
    NotTheCreator,
    PlanNotFound,
    ProposalNotFound,
    VersionConflict,
)
from store_service.domain.instant import instant_of
from store_service.domain.plan import GeneratedPlan, GenerationOptions, PlanDraft, PlanState
from store_service.domain.proposal import ProposalState
from store_service.domain.rules import Rules
from store_service.engine.loading import load
from store_service.sweeper import Sweeper
from tests.support.proposals import BOB, FAILURE, WORKER
from tests.support.serverless_store import ALLOW, ASK, DENY, Store, job, request

PLANNER = Actor("planner", frozenset({"planner"}))


async def _queued(store: Store, requester: str = "alice", priority: int = 0, max_attempts: int = 0) -> plan_pb2.Plan:
    draft = PlanDraft(state=PlanState.QUEUED, prompt="do it", priority=priority, max_attempts=max_attempts)
    return await store.plan(CreatePlan(actor=Actor(requester, via="planner"), draft=draft))


async def _claimed(store: Store, count: int = 1) -> list[plan_pb2.Plan]:
    answer = await store.writer.execute(ClaimPlans(actor=PLANNER, max_plans=count))
    return [plan_pb2.Plan.FromString(snapshot) for snapshot in answer.snapshots]


@pytest.mark.asyncio
async def test_a_claim_beside_a_cancel_takes_the_next_plan(store: Store) -> None:
    """Both in one batch: the oldest plan is no more, and there is another one."""
    first, second = await _queued(store), await _queued(store)
    cancel = store.writer.execute(CancelPlan(actor=BOB, plan_id=first.id))
    _, claimed = await asyncio.gather(cancel, _claimed(store))
    assert [plan.id for plan in claimed] == [second.id]


@pytest.mark.asyncio
async def test_of_many_requesters_plans_only_those_are_read_that_a_claim_may_take(store: Store) -> None:
    queued = [await _queued(store, requester) for requester in ("alice", "alice", "bob", "carol", "dave") for _ in "12"]
    [at_work] = await _claimed(store)
    # There is one connection that writes.
    await store.writer.stop()
    session, needs = store.database.write_session(), Needs(queued_plans=2, plan_spoilers=1)
    working_set = WorkingSet(instant_of(store.clock.now()), Rules(), lambda: "")
    await session.begin()
    await load(session, needs, working_set)
    await session.rollback()
    await session.close()
    assert at_work.id == queued[0].id
    # The oldest of those who have none in work.
    assert set(working_set.plans) == {queued[4].id, queued[6].id, queued[8].id}


@pytest.mark.asyncio
async def test_a_plan_and_its_proposals_come_together(store: Store) -> None:
    draft = PlanDraft(
        state=PlanState.PLANNED,
        objective="clean up",
        prompt="please clean up",
        jobs=(job("a", ALLOW), job("b", ASK, "a"), job("c", DENY), job("d", ASK, "c")),
        generation=b"\x0a\x05model",
        labels={"team": "ops"},
        context_json='{"host":"h1"}',
        warnings=("careful",),
        options=GenerationOptions("openai/x", 2, 1000),
        priority=4,
    )
    plan = await store.plan(CreatePlan(actor=Actor("alice", via="planner"), draft=draft))
    assert plan.state == plan_pb2.PLAN_STATE_PLANNED
    assert [bool(each.proposal_id) for each in plan.jobs] == [True, True, False, True]
    assert plan.generation.model == "model"
    assert plan.context["host"] == "h1"
    rows = await store.rows()
    assert {row.job_id: row.state for row in rows.values()} == {
        "a": ProposalState.APPROVED,
        "b": ProposalState.PENDING,
        "d": ProposalState.CANCELLED,
    }
    assert rows[plan.jobs[1].proposal_id].depends_on == (plan.jobs[0].proposal_id,)
    events = await store.events()
    assert [event.kind for event in events] == [
        "plan.created",
        "proposal.approved_by_policy",
        "proposal.created",
        "proposal.cancelled",
    ]
    assert {(event.plan_id, event.actor, event.via) for event in events} == {(plan.id, "alice", "planner")}


@pytest.mark.asyncio
async def test_the_queue_is_by_priority_then_fair_then_by_age(store: Store) -> None:
    busy = [await _queued(store, "busy") for _ in range(4)]
    quiet = await _queued(store, "quiet")
    urgent = await _queued(store, "busy", priority=1)
    order = [plan.id for plan in await _claimed(store, 10)]
    # Two of busy's are in work when only busy is left; before that quiet, who has none, comes first.
    assert order == [urgent.id, quiet.id, *(plan.id for plan in busy)]
    assert (await store.kinds()).count("plan.claimed") == 6


@pytest.mark.asyncio
async def test_plans_in_work_count_for_fairness(store: Store) -> None:
    first = [await _queued(store, "busy") for _ in range(3)]
    assert [plan.id for plan in await _claimed(store)] == [first[0].id]
    quiet = await _queued(store, "quiet")
    assert [plan.id for plan in await _claimed(store)] == [quiet.id]
    assert [plan.id for plan in await _claimed(store)] == [first[1].id]


@pytest.mark.asyncio
async def test_plans_are_handed_out_once(store: Store) -> None:
    for number in range(12):
        await _queued(store, f"requester-{number % 3}")
    claimed = await asyncio.gather(*(_claimed(store, 2) for _ in range(8)))
    ids = [plan.id for plans in claimed for plan in plans]
    assert len(ids) == len(set(ids)) == 12


@pytest.mark.asyncio
async def test_planning_ends_with_proposals(store: Store) -> None:
    queued = await _queued(store)
    [claimed] = await _claimed(store)
    assert (claimed.id, claimed.attempt, claimed.lease.worker) == (queued.id, 1, "planner")
    renewed = await store.plan(RenewPlanLease(actor=PLANNER, plan_id=queued.id, attempt=1, lease_duration=90_000_000))
    assert renewed.lease.expire_time.seconds > claimed.lease.expire_time.seconds
    generated = GeneratedPlan(objective="done", jobs=(job("a"), job("b", ASK)), generation=b"")
    for attempt, actor in ((2, PLANNER), (1, Actor("planner-2"))):
        with pytest.raises(LeaseLost):
            await store.plan(CompletePlanning(actor=actor, plan_id=queued.id, attempt=attempt, generated=generated))
    complete = CompletePlanning(
        actor=PLANNER, plan_id=queued.id, attempt=1, generated=generated, request=request("done")
    )
    planned = await store.plan(complete)
    assert (planned.state, planned.objective, planned.prompt) == (plan_pb2.PLAN_STATE_PLANNED, "done", "do it")
    assert await store.plan(complete) == planned
    # Made for the requester, who therefore cannot approve them.
    assert {row.created_by for row in (await store.rows()).values()} == {"alice"}


@pytest.mark.asyncio
async def test_a_planner_that_gives_up_or_dies(store: Store) -> None:
    queued = await _queued(store, max_attempts=3)
    await _claimed(store)
    fail = FailPlanning(actor=PLANNER, plan_id=queued.id, attempt=1, failure=FAILURE, retryable=True)
    failed = await store.plan(fail)
    assert (failed.state, failed.failure.reason) == (plan_pb2.PLAN_STATE_QUEUED, "BROKEN")
    assert await _claimed(store) == []
    store.clock.advance(5)
    [again] = await _claimed(store)
    assert again.attempt == 2
    store.clock.advance(61)
    sweeper = Sweeper(store.database, store.writer, clock=store.clock)
    assert await sweeper.sweep() == 1
    [last] = await _claimed(store)
    store.clock.advance(61)
    assert await sweeper.sweep() == 1
    with pytest.raises(LeaseLost):
        await store.plan(RenewPlanLease(actor=PLANNER, plan_id=queued.id, attempt=last.attempt))
    assert await _claimed(store) == []
    events = await store.events()
    assert events[-1].kind == "plan.failed"
    assert plan_pb2.Plan.FromString(events[-1].snapshot).failure.reason == "LEASE_EXPIRED"


@pytest.mark.asyncio
async def test_cancelling_a_plan_cancels_what_is_open(store: Store) -> None:
    plan = await store.planned(job("done"), job("running"), job("waiting", ASK, "running"), job("open", ASK))
    await store.told(ClaimProposals(actor=WORKER, max_proposals=2))
    ids = {each.id: each.proposal_id for each in plan.jobs}
    await store.one(CompleteProposal(actor=WORKER, proposal_id=ids["done"], attempt=1))
    with pytest.raises(VersionConflict):
        await store.plan(CancelPlan(actor=BOB, plan_id=plan.id, expected_version=7))
    with pytest.raises(NotTheCreator):
        await store.plan(CancelPlan(actor=BOB, plan_id=plan.id, only_creator=True))
    cancelled = await store.plan(CancelPlan(actor=BOB, plan_id=plan.id, comment="changed our minds"))
    assert cancelled.state == plan_pb2.PLAN_STATE_CANCELLED
    rows = await store.rows()
    assert rows[ids["done"]].state is ProposalState.EXECUTED
    assert (rows[ids["running"]].state, rows[ids["running"]].cancel_requested) == (ProposalState.EXECUTING, True)
    assert {rows[ids[name]].state for name in ("waiting", "open")} == {ProposalState.CANCELLED}
    with pytest.raises(IllegalTransition):
        await store.plan(CancelPlan(actor=BOB, plan_id=plan.id))
    with pytest.raises(IllegalTransition):
        await store.plan(DeletePlan(actor=BOB, plan_id=plan.id))


@pytest.mark.asyncio
async def test_a_queued_plan_can_be_cancelled_and_a_planner_at_work_is_told(store: Store) -> None:
    first, second = await _queued(store), await _queued(store)
    await _claimed(store)
    for plan in (first, second):
        await store.plan(CancelPlan(actor=BOB, plan_id=plan.id))
    with pytest.raises(LeaseLost):
        await store.plan(
            CompletePlanning(actor=PLANNER, plan_id=first.id, attempt=1, generated=GeneratedPlan(jobs=(job("a"),)))
        )
    assert await _claimed(store) == []


@pytest.mark.asyncio
async def test_deleting_hides_and_purging_removes_the_proposals_too(store: Store) -> None:
    plan = await store.planned(job("a", ASK), job("b", ASK, "a"))
    with pytest.raises(IllegalTransition):
        await store.plan(DeletePlan(actor=BOB, plan_id=plan.id))
    await store.plan(CancelPlan(actor=BOB, plan_id=plan.id))
    hidden = await store.plan(DeletePlan(actor=BOB, plan_id=plan.id))
    assert hidden.HasField("delete_time")
    assert all(row.delete_time for row in (await store.rows()).values())
    with pytest.raises(ProposalNotFound):
        await store.one(ApproveProposal(actor=BOB, proposal_id=plan.jobs[0].proposal_id, expected_version=3))
    await store.plan(DeletePlan(actor=BOB, plan_id=plan.id, purge=True))
    assert await store.rows() == {}
    with pytest.raises(PlanNotFound):
        await store.plan(DeletePlan(actor=BOB, plan_id=plan.id, purge=True))
    assert (await store.kinds())[-3:] == ["plan.purged", "proposal.purged", "proposal.purged"]


@pytest.mark.asyncio
async def test_validate_only_plan(store: Store) -> None:
    draft = PlanDraft(state=PlanState.PLANNED, jobs=(job("a"),))
    checked = await store.plan(CreatePlan(actor=PLANNER, draft=draft, validate_only=True))
    assert checked.jobs[0].proposal_id
    assert await store.events() == []
