"""Two store processes on one PostgreSQL, as two writers with connections of their own."""

from __future__ import annotations

import asyncio
import random

import pytest
from plangate.store.v1 import proposal_pb2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from store_service.commands import (
    ApproveProposal,
    CancelProposal,
    ClaimPlans,
    ClaimProposals,
    CompleteProposal,
    CreatePlan,
    CreateProposal,
    WithdrawApproval,
)
from store_service.domain.actor import Actor
from store_service.domain.errors import Refusal
from store_service.domain.plan import PlanDraft, PlanState
from store_service.domain.proposal import ProposalDraft, ProposalState
from store_service.engine.writer import WriterOptions
from tests.support.proposals import ALICE, BOB
from tests.support.serverless_store import Store, job, opened, outcomes, person, request


@pytest.mark.asyncio
async def test_each_version_is_won_once(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        pending = await one.created(required_approvals=6)
        for version in range(1, 7):
            results = await outcomes(
                *(
                    store.one(
                        ApproveProposal(
                            actor=person(f"r-{version}-{number}"), proposal_id=pending.id, expected_version=version
                        )
                    )
                    for number, store in enumerate((one, two) * 5)
                )
            )
            assert sum(not isinstance(result, Exception) for result in results) == 1
        row = (await two.rows())[pending.id]
        assert (row.state, row.version, len(row.approvals)) == (ProposalState.APPROVED, 7, 6)
        assert len(await one.events()) == 7


@pytest.mark.asyncio
async def test_no_work_is_handed_out_twice(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        await one.planned(*(job(f"job-{number}") for number in range(50)))
        for number in range(20):
            draft = PlanDraft(state=PlanState.QUEUED, prompt=f"prompt {number}")
            await two.plan(CreatePlan(actor=ALICE, draft=draft))

        async def work(store: Store, worker: Actor) -> list[str]:
            claimed: list[str] = []
            while told := await store.told(ClaimProposals(actor=worker, max_proposals=3)):
                claimed += [proposal.id for proposal in told]
                await asyncio.gather(
                    *(
                        store.one(CompleteProposal(actor=worker, proposal_id=proposal.id, attempt=1))
                        for proposal in told
                    )
                )
            return claimed

        async def plan(store: Store, planner: Actor) -> int:
            answer = await store.writer.execute(ClaimPlans(actor=planner, max_plans=7))
            return len(answer.snapshots)

        claimed = await asyncio.gather(
            *(work(store, Actor(f"worker-{number}")) for number, store in enumerate((one, two) * 3))
        )
        ids = [proposal_id for part in claimed for proposal_id in part]
        assert len(ids) == len(set(ids)) == 50
        planned = await asyncio.gather(*(plan(store, Actor("planner")) for store in (one, two) * 2))
        assert sum(planned) == 20
        kinds = await one.kinds()
        assert (kinds.count("proposal.claimed"), kinds.count("plan.claimed")) == (50, 20)


@pytest.mark.asyncio
async def test_a_dependent_made_elsewhere_is_not_forgotten(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        for _ in range(5):
            first = await one.claimed()
            worker = Actor("worker-1")
            results = await outcomes(
                one.one(CompleteProposal(actor=worker, proposal_id=first.id, attempt=1)),
                *(
                    two.one(
                        CreateProposal(
                            actor=ALICE, draft=ProposalDraft(action_name="next", depends_on=(first.id,)), submit=True
                        )
                    )
                    for _ in range(3)
                ),
            )
            assert not any(isinstance(result, Exception) for result in results)
        assert {row.waiting_for for row in (await one.rows()).values()} == {0}


@pytest.mark.asyncio
async def test_one_request_id_at_two_processes(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        for _ in range(5):
            command = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), request=request("same"))
            answers = await asyncio.gather(*(store.writer.execute(command) for store in (one, two, one, two)))
            assert len({answer.snapshots for answer in answers}) == 1
            assert sum(not answer.replayed for answer in answers) == 1
        assert len(await one.events()) == 5


@pytest.mark.asyncio
async def test_under_load_nothing_is_lost_and_the_log_has_no_gap(postgres_url: str) -> None:
    randomness = random.Random(7)
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        ids = [(await one.created(required_approvals=100)).id for _ in range(6)]
        versions: dict[str, list[int]] = {proposal_id: [1] for proposal_id in ids}

        async def reviewer(store: Store, name: str) -> None:
            for _ in range(12):
                proposal_id = randomness.choice(ids)
                command = randomness.choice(
                    [
                        ApproveProposal(
                            actor=person(name), proposal_id=proposal_id, expected_version=versions[proposal_id][-1]
                        ),
                        WithdrawApproval(actor=person(name), proposal_id=proposal_id),
                    ]
                )
                try:
                    told = await store.one(command)
                except Refusal:
                    continue
                versions[proposal_id].append(told.version)

        await asyncio.gather(*(reviewer(store, f"reviewer-{n}") for n, store in enumerate((one, two) * 6)))
        rows = await one.rows()
        for proposal_id, seen in versions.items():
            # Each acknowledged change has a version of its own, and none is missing.
            assert sorted(seen) == list(range(1, rows[proposal_id].version + 1))
        assert len(await two.events()) == sum(row.version for row in rows.values())


@pytest.mark.asyncio
async def test_one_who_waits_hears_of_work_from_the_other_process(postgres_url: str) -> None:
    async with opened(postgres_url, options=WriterOptions(poll_seconds=0.05)) as one, opened(postgres_url) as two:
        waiting = asyncio.create_task(
            one.writer.execute_waiting(ClaimProposals(actor=Actor("worker-1")), wait_seconds=20)
        )
        made = await two.approved()
        [snapshot] = (await waiting).snapshots
        assert proposal_pb2.Proposal.FromString(snapshot).id == made.id
        cancelled = await two.one(CancelProposal(actor=BOB, proposal_id=made.id))
        assert cancelled.cancel_requested


@pytest.mark.asyncio
async def test_a_row_that_somebody_holds_by_hand_is_left_out(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        held = await store.approved(priority=5)
        free = await store.approved()
        engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1 FROM proposals WHERE id = :id FOR UPDATE"), {"id": held.id})
            told = await store.told(ClaimProposals(actor=Actor("worker-1"), max_proposals=5))
            assert [proposal.id for proposal in told] == [free.id]
        await engine.dispose()
        assert len(await store.told(ClaimProposals(actor=Actor("worker-1")))) == 1
