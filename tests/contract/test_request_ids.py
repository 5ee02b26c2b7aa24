"""A repeated request gets the first answer again, and does nothing."""

from __future__ import annotations

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
from tests.support.proposals import ALICE, BOB, CAROL, WORKER
from tests.support.serverless_store import ALLOW, Store, job, opened, outcomes, request


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
    batch = BatchCreateProposals(actor=ALICE, creations=creations, request=request())
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
