"""Handing out work: in order, once, to those who can do it, when it is its turn."""

from __future__ import annotations

import asyncio

import pytest
from plangate.store.v1 import proposal_pb2

from store_service.commands import (
    ApproveProposal,
    CancelProposal,
    ClaimPlans,
    ClaimProposals,
    CompleteProposal,
    CreatePlan,
    CreateProposal,
    DeleteProposal,
    FailPlanning,
    FailProposal,
    RejectProposal,
    RenewLease,
)
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, LeaseLost
from store_service.domain.plan import PlanDraft, PlanState
from store_service.domain.proposal import ProposalDraft, ProposalState
from store_service.engine.writer import WriterOptions
from store_service.sweeper import Sweeper
from tests.support.polling import until
from tests.support.proposals import ALICE, BOB, FAILURE, WORKER
from tests.support.serverless_store import ASK, Store, job, opened, outcomes


def _claim(count: int = 1, *action_names: str, plan_id: str = "", actor: Actor = WORKER) -> ClaimProposals:
    return ClaimProposals(actor=actor, max_proposals=count, action_names=frozenset(action_names), plan_id=plan_id)


@pytest.mark.asyncio
async def test_highest_priority_first_then_oldest(store: Store) -> None:
    made = [await store.approved("act", priority=priority) for priority in (0, 5, -3, 5, 0)]
    claimed = await store.told(_claim(10, "act"))
    assert [proposal.id for proposal in claimed] == [made[index].id for index in (1, 3, 0, 4, 2)]
    assert all(proposal.lease.worker == "worker-1" and proposal.attempt == 1 for proposal in claimed)


@pytest.mark.asyncio
async def test_only_what_the_executor_can_do(store: Store) -> None:
    one, two, three = [await store.approved(name) for name in ("one", "two", "three")]
    assert await store.told(_claim(10, "four")) == []
    many = _claim(10, "three", "one", *(f"other-{number}" for number in range(250)))
    assert {proposal.id for proposal in await store.told(many)} == {one.id, three.id}
    assert [proposal.id for proposal in await store.told(_claim(10))] == [two.id]


@pytest.mark.asyncio
async def test_only_of_one_plan(store: Store) -> None:
    await store.approved("a")
    plan = await store.planned(job("a"), job("b"), job("c", ASK))
    other = await store.planned(job("a"))
    assert {p.job_id for p in await store.told(_claim(10, "a", "c", plan_id=plan.id))} == {"a"}
    assert {p.job_id for p in await store.told(_claim(10, plan_id=plan.id))} == {"b"}
    assert [p.plan_id for p in await store.told(_claim(10, plan_id=other.id))] == [other.id]


@pytest.mark.asyncio
async def test_nothing_is_handed_out_twice(store: Store) -> None:
    plan_jobs = [job(f"job-{number}") for number in range(60)]
    await store.planned(*plan_jobs)
    workers = [Actor(f"worker-{number}") for number in range(20)]
    claims = [
        store.told(_claim(4, *(["job-1"] if number % 3 == 0 else []), actor=worker))
        for number, worker in enumerate(workers)
        for _ in range(2)
    ]
    claimed = [proposal for told in await asyncio.gather(*claims) for proposal in told]
    claimed += await store.told(_claim(100))
    assert len(claimed) == 60
    assert len({proposal.id for proposal in claimed}) == 60
    assert await store.told(_claim(100)) == []


@pytest.mark.asyncio
async def test_what_a_neighbour_takes_away_is_replaced(store: Store) -> None:
    first = await store.approved(priority=9)
    second = await store.approved()
    results = await outcomes(
        store.one(CancelProposal(actor=BOB, proposal_id=first.id)),
        store.told(_claim(1, "act")),
        store.told(_claim(1)),
    )
    assert [proposal.id for proposal in results[1]] == [second.id]
    assert results[2] == []


@pytest.mark.asyncio
async def test_a_job_waits_for_those_it_depends_on(store: Store) -> None:
    await store.planned(job("a"), job("b", ASK), job("c", job("x").decision, "a", "b"), job("d", ASK, "c"))  # type: ignore[arg-type]
    by_job = {row.job_id: row for row in (await store.rows()).values()}
    assert [by_job[name].waiting_for for name in "abcd"] == [0, 0, 2, 1]
    [running] = await store.told(_claim(10))
    assert running.job_id == "a"
    assert await store.told(_claim(10)) == []
    for name in "bd":
        await store.one(ApproveProposal(actor=BOB, proposal_id=by_job[name].id, expected_version=1))
    [second] = await store.told(_claim(10))
    assert second.job_id == "b"
    await asyncio.gather(
        store.one(CompleteProposal(actor=WORKER, proposal_id=running.id, attempt=1)),
        store.one(CompleteProposal(actor=WORKER, proposal_id=second.id, attempt=1)),
    )
    # Becoming ready is not a change that a reviewer would have to look at again.
    row = (await store.rows())[by_job["c"].id]
    assert (row.waiting_for, row.version) == (0, 1)
    [third] = await store.told(_claim(10))
    assert third.job_id == "c"
    await store.one(CompleteProposal(actor=WORKER, proposal_id=third.id, attempt=1))
    assert [proposal.job_id for proposal in await store.told(_claim(10))] == ["d"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("fail", "DEPENDENCY_FAILED"),
        ("reject", "DEPENDENCY_REJECTED"),
        ("cancel", "DEPENDENCY_CANCELLED"),
        ("expire", "DEPENDENCY_EXPIRED"),
    ],
)
async def test_what_cannot_happen_any_more_is_cancelled(store: Store, ending: str, reason: str) -> None:
    await store.planned(job("first", ASK), job("second", ASK, "first"), job("third", ASK, "second"), job("free", ASK))
    by_job = {row.job_id: row for row in (await store.rows()).values()}
    first = by_job["first"].id
    if ending == "reject":
        await store.one(RejectProposal(actor=BOB, proposal_id=first, expected_version=1, comment="no"))
    elif ending == "cancel":
        await store.one(CancelProposal(actor=BOB, proposal_id=first, comment="no"))
    elif ending == "fail":
        await store.one(ApproveProposal(actor=BOB, proposal_id=first, expected_version=1))
        await store.told(_claim())
        await store.one(FailProposal(actor=WORKER, proposal_id=first, attempt=1, failure=FAILURE))
    else:
        made = await store.created("soon", expire_time=store_time(store, 5))
        first = made.id
        dependent = ProposalDraft(action_name="later", depends_on=(first,))
        made = await store.one(CreateProposal(actor=ALICE, draft=dependent))
        by_job["second"] = (await store.rows())[made.id]
        store.clock.advance(5)
        assert await Sweeper(store.database, store.writer, clock=store.clock).sweep() == 1
    rows = await store.rows()
    second = rows[by_job["second"].id]
    assert second.failure is not None
    assert (second.state, second.failure.reason) == (ProposalState.CANCELLED, reason)
    if ending != "expire":
        third = rows[by_job["third"].id]
        assert third.failure is not None
        assert (third.state, third.failure.reason) == (ProposalState.CANCELLED, "DEPENDENCY_CANCELLED")
    assert rows[by_job["free"].id].state is ProposalState.PENDING
    assert (await store.kinds())[-1] == "proposal.cancelled"


def store_time(store: Store, seconds: float) -> int:
    """An instant so many seconds from the store's now."""
    return int((store.clock.now().timestamp() + seconds) * 1_000_000)


@pytest.mark.asyncio
async def test_dependencies_must_exist_and_still_be_possible(store: Store) -> None:
    done, ended = await store.executed(), await store.created()
    await store.one(CancelProposal(actor=BOB, proposal_id=ended.id))
    ready = await store.approved("later", depends_on=(done.id,))
    assert (await store.rows())[ready.id].waiting_for == 0
    for needed in (ended.id, "missing"):
        with pytest.raises(InvalidField) as refused:
            await store.created("later", depends_on=(done.id, needed))
        assert refused.value.path == "proposal.depends_on[1]"


@pytest.mark.asyncio
async def test_deleting_a_draft_cancels_those_that_wait_for_it(store: Store) -> None:
    draft = await store.one(CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act")))
    waiting = await store.created("later", depends_on=(draft.id,))
    await store.one(DeleteProposal(actor=ALICE, proposal_id=draft.id, purge=True))
    row = (await store.rows())[waiting.id]
    assert row.failure is not None
    assert row.failure.reason == "DEPENDENCY_DELETED"


@pytest.mark.asyncio
async def test_a_retry_waits_for_its_time(store: Store) -> None:
    running = await store.claimed(max_attempts=2)
    fail = FailProposal(
        actor=WORKER, proposal_id=running.id, attempt=1, failure=FAILURE, retryable=True, retry_delay=5_000_000
    )
    await store.one(fail)
    assert await store.told(_claim()) == []
    store.clock.advance(5)
    assert (await store.one(_claim())).attempt == 2


@pytest.mark.asyncio
async def test_leases_that_ran_out_are_taken_back(store: Store) -> None:
    sweeper = Sweeper(store.database, store.writer, clock=store.clock, limit=2)
    retried, failed, cancelled = [
        await store.claimed(f"act-{n}", max_attempts=2 if n == 0 else 1, idempotent=True) for n in range(3)
    ]
    await store.one(CancelProposal(actor=BOB, proposal_id=cancelled.id))
    store.clock.advance(59)
    assert await sweeper.sweep() == 0
    await store.one(RenewLease(actor=WORKER, proposal_id=failed.id, attempt=1, lease_duration=90_000_000))
    store.clock.advance(1)
    assert await sweeper.sweep() == 2
    rows = await store.rows()
    assert [rows[p.id].state for p in (retried, failed, cancelled)] == [
        ProposalState.APPROVED,
        ProposalState.EXECUTING,
        ProposalState.CANCELLED,
    ]
    store.clock.advance(100)
    assert await sweeper.sweep() == 1
    row = (await store.rows())[failed.id]
    assert row.failure is not None
    assert (row.state, row.failure.reason) == (ProposalState.FAILED, "LEASE_EXPIRED")
    with pytest.raises(LeaseLost):
        await store.one(CompleteProposal(actor=WORKER, proposal_id=retried.id, attempt=1))
    assert (await store.events())[-1].actor == "system:sweeper"


@pytest.mark.asyncio
async def test_two_sweepers_do_it_once(store: Store) -> None:
    for number in range(30):
        await store.created(expire_time=store_time(store, 1 + number % 3))
    store.clock.advance(10)
    sweepers = [Sweeper(store.database, store.writer, clock=store.clock, limit=7) for _ in range(2)]
    assert sum(await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))) == 30
    assert (await store.kinds()).count("proposal.expired") == 30


@pytest.mark.asyncio
async def test_a_pause_that_ends_wakes_as_many_as_there_is_work_for(database_url: str) -> None:
    async with opened(database_url, options=WriterOptions(poll_seconds=0.02)) as store:
        plan = await store.planned(job("a", max_attempts=2), job("b"))
        for _ in range(2):
            await store.approved("act", max_attempts=2)
        # Work for others, and more of it than anybody asks for.
        for _ in range(5):
            await store.approved("foreign")
        retries = [*await store.told(_claim(2, "act")), *await store.told(_claim(1, "a", plan_id=plan.id))]
        for proposal in retries:
            await store.one(
                FailProposal(
                    actor=WORKER,
                    proposal_id=proposal.id,
                    attempt=1,
                    failure=FAILURE,
                    retryable=True,
                    retry_delay=5_000_000,
                )
            )
        claims = [_claim(1, "act", f"other-{number}") for number in range(12)]
        claims += [_claim(1, "a", plan_id=plan.id), _claim(1, "a", plan_id="another")]
        waits = [asyncio.create_task(store.writer.execute_waiting(claim, wait_seconds=30)) for claim in claims]
        head = await head_of(store)
        # Those who wait have looked once; a look on behalf of all finds nothing that is due.
        await until(lambda: store.writer.waiting == 0)
        await asyncio.sleep(0.1)
        assert not any(wait.done() for wait in waits)
        store.clock.advance(5)
        await until(lambda: sum(wait.done() for wait in waits) == 3)
        claimed = {snapshot for wait in waits if wait.done() for snapshot in wait.result().snapshots}
        assert {proposal_pb2.Proposal.FromString(snapshot).id for snapshot in claimed} == {p.id for p in retries}
        assert waits[12].done()
        assert await head_of(store) == head + 3
        store.writer.end_waits()
        await asyncio.gather(*waits)


async def head_of(store: Store) -> int:
    """The last revision of the log."""
    return len(await store.events())


@pytest.mark.asyncio
async def test_a_planner_waits_for_a_pause_to_end(database_url: str) -> None:
    async with opened(database_url, options=WriterOptions(poll_seconds=0.02)) as store:
        queued = PlanDraft(state=PlanState.QUEUED, prompt="later", max_attempts=2)
        plan = await store.plan(CreatePlan(actor=ALICE, draft=queued))
        await store.plan(ClaimPlans(actor=WORKER))
        await store.plan(
            FailPlanning(
                actor=WORKER, plan_id=plan.id, attempt=1, failure=FAILURE, retryable=True, retry_delay=5_000_000
            )
        )
        wait = asyncio.create_task(store.writer.execute_waiting(ClaimPlans(actor=WORKER), wait_seconds=30))
        await asyncio.sleep(0.05)
        assert not wait.done()
        store.clock.advance(5)
        await until(wait.done)
        assert len(wait.result().snapshots) == 1


@pytest.mark.asyncio
async def test_waiting_for_work(store: Store) -> None:
    waits = [
        asyncio.create_task(store.writer.execute_waiting(_claim(1, name), wait_seconds=20))
        for name in ("one", "two", "two")
    ]
    assert (await store.writer.execute_waiting(_claim(1, "three"), wait_seconds=0.02)).snapshots == ()
    two = await store.approved("two")
    await until(waits[1].done)
    assert proposal_pb2.Proposal.FromString(waits[1].result().snapshots[0]).id == two.id
    assert not waits[0].done()
    assert not waits[2].done()
    # One who was woken but gave up passes the signal on.
    waits[2].cancel()
    await store.planned(job("one"))
    await until(waits[0].done)
    late = asyncio.create_task(store.writer.execute_waiting(_claim(1, "four"), wait_seconds=20))
    await asyncio.sleep(0)
    store.writer.end_waits()
    assert (await late).snapshots == ()
