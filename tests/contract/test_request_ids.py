"""A repeated request gets the first answer again, and does nothing."""

from __future__ import annotations

import asyncio

import pytest

from store_service.commands import (
    ApproveProposal,
    BatchCreateProposals,
    ClaimPlans,
    ClaimProposals,
    CompleteProposal,
    CreatePlan,
    CreateProposal,
    DeleteProposal,
    RejectProposal,
    RequestKey,
)
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, LeaseLost, RequestIdReused, VersionConflict
from store_service.domain.plan import PlanDraft, PlanState
from store_service.domain.proposal import ProposalDraft
from store_service.engine.writer import WriterOptions
from store_service.sweeper import Sweeper
from tests.support.proposals import ALICE, BOB, CAROL, WORKER
from tests.support.serverless_store import ALLOW, Gate, Store, job, opened, outcomes, request


def sweeper(store: Store, limit: int = 100, days: int = 30) -> Sweeper:
    return Sweeper(store.database, store.writer, clock=store.clock, limit=limit, request_retention_days=days)


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_requests_of_long_ago_are_forgotten(database_url: str, limit: int) -> None:
    draft = ProposalDraft(action_name="act")
    old = CreateProposal(actor=ALICE, draft=draft, request=request("old"))
    parts = tuple(CreateProposal(actor=ALICE, draft=draft) for _ in range(3))
    old_batch = BatchCreateProposals(actor=ALICE, parts=parts, request=request("batch"))
    young = CreateProposal(actor=ALICE, draft=draft, request=request("young"))
    async with opened(database_url) as store:
        first = await store.told(old)
        store.clock.advance(1)
        batch = await store.told(old_batch)
        store.clock.advance(86_400)
        kept = await store.told(young)
        log = await store.events()
        store.clock.advance(29 * 86_400)
        # To the second: what is exactly as old as the retention is remembered.
        assert await sweeper(store, limit).forget_requests() == 1
        assert await store.told(old_batch) == batch
        store.clock.advance(1)
        assert await sweeper(store, limit, days=0).forget_requests() == 0
        assert await sweeper(store, limit).forget_requests() == 3
        assert await sweeper(store, limit).forget_requests() == 0
        # The log is as it was, chain and ids included.
        assert await store.events() == log
    async with opened(database_url, clock=store.clock) as store:
        assert await store.told(young) == kept
        again = await store.told(old)
        assert again[0].id != first[0].id
        assert await store.told(old) == again
        # Also with other content, as any new request.
        other = CreateProposal(
            actor=ALICE,
            draft=ProposalDraft(action_name="other"),
            request=RequestKey(old_batch.request.request_id, b"other"),
        )
        assert (await store.one(other)).action_name == "other"
        assert len({made.id for made in await store.told(old_batch)} - {made.id for made in batch}) == 3
        assert await sweeper(store, limit).forget_requests() == 0
        await store.events()


@pytest.mark.asyncio
async def test_a_call_that_waits_is_answered_before_its_request_is_forgotten(database_url: str) -> None:
    command = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), request=request("old"))
    async with opened(database_url) as store:
        first = await store.told(command)
        clock = store.clock
    clock.advance(31 * 86_400)
    gate = Gate()
    async with opened(
        database_url, clock=clock, fail_points=gate.fail_points, options=WriterOptions(max_batch=2)
    ) as store:
        other = asyncio.create_task(store.created())
        await gate.reached.wait()
        # The writer is in the middle of a commit; these wait for their turn, in two batches.
        repeated = [asyncio.create_task(store.told(command)) for _ in range(4)]
        await asyncio.sleep(0)
        forgetting = asyncio.create_task(sweeper(store).forget_requests())
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(other, *repeated)
        assert all(each.result() == first for each in repeated)
        assert await forgetting == 1
        assert await store.told(command) != first


@pytest.mark.asyncio
async def test_same_answer_in_the_same_batch_later_and_after_a_restart(database_url: str) -> None:
    key = request("create")
    command = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), submit=True, request=key)
    async with opened(database_url) as store:
        first, second = await outcomes(store.writer.execute(command), store.writer.execute(command))
        assert not first.replayed
        assert second.replayed
        third = await store.writer.execute(command)
        proposal_id = (await store.told(command))[0].id
        await store.one(ApproveProposal(actor=BOB, proposal_id=proposal_id, expected_version=1))
    async with opened(database_url) as store:
        fourth = await store.writer.execute(command)
        for repeated in (second, third, fourth):
            assert (repeated.snapshots, repeated.revisions) == (first.snapshots, first.revisions)
        assert len(await store.events()) == 2


@pytest.mark.asyncio
async def test_other_content_under_the_same_id_is_refused(store: Store) -> None:
    key = request("create")
    command = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), request=key)
    other = CreateProposal(
        actor=ALICE, draft=ProposalDraft(action_name="other"), request=request("other", key.request_id)
    )
    first, second = await outcomes(store.writer.execute(command), store.writer.execute(other))
    assert first.revisions == (1,)
    assert isinstance(second, RequestIdReused)
    with pytest.raises(RequestIdReused):
        await store.writer.execute(other)


@pytest.mark.asyncio
async def test_ids_are_remembered_per_caller_and_method(store: Store) -> None:
    key = request("same")
    pending = await store.created(required_approvals=2)
    for actor, version in ((BOB, 1), (CAROL, 2)):
        approve = ApproveProposal(actor=actor, proposal_id=pending.id, expected_version=version, request=key)
        assert (await store.one(approve)).version == version + 1
        assert (await store.writer.execute(approve)).replayed
    made = await store.writer.execute(
        CreateProposal(actor=BOB, draft=ProposalDraft(action_name="act"), request=request("other", key.request_id))
    )
    assert not made.replayed


@pytest.mark.asyncio
async def test_a_failure_is_not_remembered(store: Store) -> None:
    pending = await store.created()
    key = request()
    with pytest.raises(VersionConflict):
        await store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=9, request=key))
    assert (
        await store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1, request=key))
    ).version == 2


@pytest.mark.asyncio
async def test_validate_only_neither_remembers_nor_replays(store: Store) -> None:
    key = request()
    draft = ProposalDraft(action_name="act")
    await store.one(CreateProposal(actor=ALICE, draft=draft, request=key, validate_only=True))
    real = await store.writer.execute(CreateProposal(actor=ALICE, draft=draft, request=key))
    assert not real.replayed
    checked = await store.writer.execute(CreateProposal(actor=ALICE, draft=draft, request=key, validate_only=True))
    assert (checked.revisions, checked.replayed) == ((), False)


@pytest.mark.asyncio
async def test_a_repeated_claim_returns_the_same_leases(store: Store) -> None:
    proposals = {(await store.approved()).id for _ in range(3)}
    claim = ClaimProposals(actor=WORKER, max_proposals=2, request=request())
    first = await store.told(claim)
    again = await store.told(claim)
    assert len(first) == 2
    assert again == first
    rest = await store.told(ClaimProposals(actor=WORKER, max_proposals=2, request=request()))
    assert {proposal.id for proposal in (*first, *rest)} == proposals
    # The answer is the same even when the lease is gone; its token is worth nothing then.
    await store.one(CompleteProposal(actor=WORKER, proposal_id=first[0].id, attempt=1))
    assert await store.told(claim) == first
    with pytest.raises(LeaseLost):
        await store.one(CompleteProposal(actor=WORKER, proposal_id=first[0].id, attempt=1))


@pytest.mark.asyncio
async def test_a_claim_that_found_nothing_looks_again(store: Store) -> None:
    claim = ClaimProposals(actor=WORKER, request=request())
    assert await store.told(claim) == []
    await store.approved()
    assert len(await store.told(claim)) == 1


@pytest.mark.asyncio
async def test_answers_of_several_resources_keep_their_order(store: Store) -> None:
    creations = tuple(CreateProposal(actor=ALICE, draft=ProposalDraft(action_name=f"act-{n}")) for n in range(5))
    batch = BatchCreateProposals(actor=ALICE, parts=creations, request=request())
    first = await store.writer.execute(batch)
    assert len(first.snapshots) == 5
    assert (await store.writer.execute(batch)).snapshots == first.snapshots
    plan = CreatePlan(
        actor=ALICE,
        draft=PlanDraft(state=PlanState.PLANNED, jobs=(job("a"), job("b", ALLOW, "a"))),
        request=request(),
    )
    made = await store.plan(plan)
    assert await store.plan(plan) == made
    queued = CreatePlan(actor=ALICE, draft=PlanDraft(state=PlanState.QUEUED, prompt="do"), request=request())
    await store.plan(queued)
    claim = ClaimPlans(actor=ALICE, request=request())
    assert await store.plan(claim) == await store.plan(claim)


@pytest.mark.asyncio
async def test_a_repeated_purge_is_answered_from_the_log(store: Store) -> None:
    pending = await store.created()
    await store.one(RejectProposal(actor=BOB, proposal_id=pending.id, expected_version=1, comment="no"))
    purge = DeleteProposal(actor=ALICE, proposal_id=pending.id, purge=True, request=request())
    first = await store.one(purge)
    assert await store.one(purge) == first


@pytest.mark.asyncio
async def test_a_request_id_is_a_uuid(store: Store) -> None:
    with pytest.raises(InvalidField) as refused:
        await store.writer.execute(
            CreateProposal(
                actor=Actor("alice"), draft=ProposalDraft(action_name="act"), request=RequestKey("not-a-uuid", b"")
            )
        )
    assert refused.value.path == "request_id"
