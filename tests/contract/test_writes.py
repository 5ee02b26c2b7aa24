"""What every write keeps on every database: answers are what was stored, the log is sound, neighbours do not suffer."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from plangate.store.v1 import proposal_pb2

from store_service.commands import (
    ApproveProposal,
    BatchApproveProposals,
    BatchCreateProposals,
    CancelProposal,
    ClaimProposals,
    CompleteProposal,
    CreateProposal,
    DeleteProposal,
    FailProposal,
    RejectProposal,
    RenewLease,
    SubmitProposal,
    UpdateProposal,
    WithdrawApproval,
)
from store_service.commands.working_set import Transaction
from store_service.domain.actor import Actor
from store_service.domain.errors import (
    AlreadyApproved,
    DeadlinePassed,
    Draining,
    IllegalTransition,
    InvalidField,
    NotTheCreator,
    Overloaded,
    ProposalNotFound,
    SelfApproval,
    VersionConflict,
)
from store_service.domain.events import EventKind
from store_service.domain.proposal import Approval, Decision, Effect, ProposalDraft, ProposalState
from store_service.engine.writer import WriterOptions
from tests.support.polling import until
from tests.support.proposals import ALICE, BOB, CAROL, FAILURE, WORKER
from tests.support.serverless_store import Gate, Store, opened, outcomes, person


@pytest.mark.asyncio
async def test_a_proposal_from_draft_to_done(store: Store) -> None:
    decision = Decision(Effect.REQUIRE_APPROVAL, "risky", "rule-1", 1, "", 5_000_000)
    draft = ProposalDraft(
        action_name="act",
        args_json='{"a":1}',
        description="é",
        evidence="because",
        priority=3,
        labels={"team": "ops"},
        max_attempts=2,
        decision=decision,
    )
    made = await store.one(CreateProposal(actor=ALICE, draft=draft))
    assert (made.state, made.version) == (proposal_pb2.PROPOSAL_STATE_DRAFT, 1)
    submit = SubmitProposal(actor=ALICE, proposal_id=made.id, expected_version=1)
    assert (await store.one(submit)).version == 2
    update = UpdateProposal(
        actor=ALICE,
        proposal_id=made.id,
        expected_version=2,
        draft=dataclasses.replace(draft, args_json='{"a":2}'),
        fields=frozenset({"action_args"}),
    )
    assert (await store.one(update)).action_args["a"] == 2
    await store.one(ApproveProposal(actor=BOB, proposal_id=made.id, expected_version=3, comment="ok"))
    await store.one(ClaimProposals(actor=WORKER))
    await store.one(RenewLease(actor=WORKER, proposal_id=made.id, attempt=1, lease_duration=9_000_000))
    failed = FailProposal(actor=WORKER, proposal_id=made.id, attempt=1, failure=FAILURE, retryable=True)
    assert (await store.one(failed)).state == proposal_pb2.PROPOSAL_STATE_APPROVED
    await store.one(ClaimProposals(actor=WORKER))
    done = await store.one(CompleteProposal(actor=WORKER, proposal_id=made.id, attempt=2, result_json='{"ok":true}'))
    assert (done.state, done.version, done.result["ok"]) == (proposal_pb2.PROPOSAL_STATE_EXECUTED, 9, True)
    assert done.action_args["a"] == 2
    assert [event.kind for event in await store.events()] == [
        "proposal.created",
        "proposal.submitted",
        "proposal.updated",
        "proposal.approved",
        "proposal.claimed",
        "proposal.lease_renewed",
        "proposal.retried",
        "proposal.claimed",
        "proposal.executed",
    ]
    row = (await store.rows())[made.id]
    assert row.decision == dataclasses.replace(decision, decided_by="alice")
    assert row.labels == {"team": "ops"}
    assert row.approvals == (Approval("bob", 3, row.args_digest, "ok", row.create_time),)
    assert (row.state, row.version, row.result_json) == (ProposalState.EXECUTED, 9, '{"ok":true}')


@pytest.mark.asyncio
async def test_the_answer_is_what_the_log_keeps(store: Store) -> None:
    answer = await store.writer.execute(CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act")))
    [event] = await store.events()
    assert answer.snapshots == (event.snapshot,)
    assert answer.revisions == (event.revision,)
    assert (event.actor, event.authenticated, event.version) == ("alice", False, 1)


@pytest.mark.asyncio
async def test_of_many_who_approve_at_once_exactly_one_wins_each_version(store: Store) -> None:
    pending = await store.created(required_approvals=4)
    reviewers = [person(f"reviewer-{number}") for number in range(25)]
    for version in range(1, 5):
        results = await outcomes(
            *(
                store.writer.execute(ApproveProposal(actor=reviewer, proposal_id=pending.id, expected_version=version))
                for reviewer in reviewers
            )
        )
        winners = [
            reviewer for reviewer, result in zip(reviewers, results, strict=True) if not isinstance(result, Exception)
        ]
        assert len(winners) == 1
        assert all(isinstance(result, VersionConflict) for result in results if isinstance(result, Exception))
        reviewers.remove(winners[0])
    row = (await store.rows())[pending.id]
    assert (row.state, row.version, len(row.approvals)) == (ProposalState.APPROVED, 5, 4)
    assert len({approval.reviewer for approval in row.approvals}) == 4
    assert len(await store.events()) == 5


@pytest.mark.asyncio
async def test_two_commands_of_one_batch_see_each_other(store: Store) -> None:
    pending = await store.created(required_approvals=2)
    results = await outcomes(
        store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1)),
        store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=2)),
        store.one(ApproveProposal(actor=CAROL, proposal_id=pending.id, expected_version=2)),
        store.one(CancelProposal(actor=BOB, proposal_id=pending.id, expected_version=3)),
    )
    assert [result.version for result in (results[0], results[2], results[3])] == [2, 3, 4]
    assert isinstance(results[1], AlreadyApproved)
    assert (await store.rows())[pending.id].state is ProposalState.CANCELLED


@pytest.mark.asyncio
async def test_a_failing_command_leaves_no_mark_on_its_neighbours(store: Store) -> None:
    proposals = [await store.created() for _ in range(4)]
    done = await store.executed("other")
    before = await store.rows()

    def approve(which: int, actor: Actor = BOB, version: int = 1) -> ApproveProposal:
        return ApproveProposal(actor=actor, proposal_id=proposals[which].id, expected_version=version)

    bad_batch = BatchApproveProposals(actor=CAROL, parts=(approve(3, CAROL), approve(2, CAROL, version=9)))
    results = await outcomes(
        store.one(approve(0)),
        store.one(approve(1, version=7)),
        store.one(RejectProposal(actor=BOB, proposal_id=done.id, expected_version=done.version, comment="late")),
        store.one(approve(1, Actor("alice", frozenset({"reviewer"})))),
        store.told(bad_batch),
        store.one(CancelProposal(actor=BOB, proposal_id="missing")),
        store.one(approve(2)),
    )
    assert [type(result) for result in results[1:6]] == [
        VersionConflict,
        IllegalTransition,
        SelfApproval,
        VersionConflict,
        ProposalNotFound,
    ]
    assert results[4].index == 1
    after = await store.rows()
    changed = {proposal_id for proposal_id, row in after.items() if row != before[proposal_id]}
    assert changed == {proposals[0].id, proposals[2].id}
    assert (await store.kinds())[-2:] == ["proposal.approved", "proposal.approved"]


@pytest.mark.asyncio
async def test_a_fault_in_one_command_spares_the_others(store: Store) -> None:
    pending = await store.created()

    class Broken(ApproveProposal):
        def apply(self, transaction: Transaction) -> None:
            raise ZeroDivisionError

    results = await outcomes(
        store.one(Broken(actor=BOB, proposal_id=pending.id, expected_version=1)),
        store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1)),
    )
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1].version == 2


@pytest.mark.asyncio
async def test_what_a_database_refuses_fails_alone(store: Store) -> None:
    pending = await store.created()

    class Unstorable(WithdrawApproval):
        def apply(self, transaction: Transaction) -> None:
            # A column that is in no snapshot, with a number that no database takes.
            changed = transaction.proposal(self.proposal_id).changed(self.actor, transaction.now, waiting_for=2**80)
            transaction.save((changed, EventKind.PROPOSAL_UPDATED), answers=True)

    results = await outcomes(
        store.one(Unstorable(actor=BOB, proposal_id=pending.id)),
        store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1)),
    )
    assert isinstance(results[0], Exception)
    assert results[1].version == 2
    assert await store.kinds() == ["proposal.created", "proposal.approved"]


@pytest.mark.asyncio
async def test_validate_only_answers_and_keeps_nothing(store: Store) -> None:
    draft = ProposalDraft(action_name="act")
    made = await store.one(CreateProposal(actor=ALICE, draft=draft, submit=True, validate_only=True))
    assert made.state == proposal_pb2.PROPOSAL_STATE_PENDING
    assert await store.rows() == {}
    pending = await store.created()
    would_be, real = await asyncio.gather(
        store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1, validate_only=True)),
        store.one(ApproveProposal(actor=CAROL, proposal_id=pending.id, expected_version=1)),
    )
    assert (would_be.state, would_be.version) == (proposal_pb2.PROPOSAL_STATE_APPROVED, 2)
    assert real.approvals[0].reviewer == "carol"
    with pytest.raises(VersionConflict):
        await store.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1, validate_only=True))
    assert len(await store.events()) == 2


@pytest.mark.asyncio
async def test_batches_stand_or_fall_together(store: Store) -> None:
    def creation(action_name: str, **fields: object) -> CreateProposal:
        return CreateProposal(actor=ALICE, draft=ProposalDraft(action_name=action_name, **fields), submit=True)  # type: ignore[arg-type]

    made = await store.told(BatchCreateProposals(actor=ALICE, parts=(creation("a"), creation("b"))))
    assert [proposal.action_name for proposal in made] == ["a", "b"]
    with pytest.raises(InvalidField) as refused:
        await store.told(BatchCreateProposals(actor=ALICE, parts=(creation("c"), creation("d", priority=5000))))
    assert (refused.value.path, refused.value.index) == ("requests[1].proposal.priority", 1)
    nowhere = creation("d", depends_on=("nowhere",))
    with pytest.raises(InvalidField) as refused:
        await store.told(BatchCreateProposals(actor=ALICE, parts=(creation("c"), nowhere)))
    assert refused.value.path == "requests[1].proposal.depends_on[0]"
    assert len(await store.rows()) == 2
    approvals = tuple(ApproveProposal(actor=BOB, proposal_id=each.id, expected_version=1) for each in made)
    with pytest.raises(InvalidField):
        await store.told(BatchApproveProposals(actor=BOB, parts=(approvals[0], approvals[0])))
    approved = await store.told(BatchApproveProposals(actor=BOB, parts=approvals))
    assert [each.id for each in approved] == [each.id for each in made]


@pytest.mark.asyncio
async def test_delete_hides_and_purge_removes(store: Store) -> None:
    pending = await store.created()
    with pytest.raises(IllegalTransition):
        await store.one(DeleteProposal(actor=ALICE, proposal_id=pending.id))
    await store.one(CancelProposal(actor=ALICE, proposal_id=pending.id, comment="no need"))
    with pytest.raises(NotTheCreator):
        await store.one(DeleteProposal(actor=BOB, proposal_id=pending.id, only_creator=True))
    hidden = await store.one(DeleteProposal(actor=ALICE, proposal_id=pending.id, only_creator=True))
    assert hidden.HasField("delete_time")
    with pytest.raises(ProposalNotFound):
        await store.one(DeleteProposal(actor=ALICE, proposal_id=pending.id))
    purged = await store.one(DeleteProposal(actor=ALICE, proposal_id=pending.id, purge=True))
    assert purged.version == 4
    assert await store.rows() == {}
    with pytest.raises(ProposalNotFound):
        await store.one(DeleteProposal(actor=ALICE, proposal_id=pending.id, purge=True))
    assert (await store.kinds())[2:] == ["proposal.deleted", "proposal.purged"]


@pytest.mark.asyncio
async def test_cancelled_and_late_calls_are_dropped_before_their_turn(database_url: str) -> None:
    gate = Gate()
    async with opened(database_url, fail_points=gate.fail_points) as store:
        loop = asyncio.get_running_loop()
        create = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"))
        first = asyncio.create_task(store.writer.execute(create))
        await gate.reached.wait()
        dropped = asyncio.create_task(store.writer.execute(create))
        late = asyncio.create_task(store.writer.execute(create, deadline=loop.time()))
        kept = asyncio.create_task(store.writer.execute(create, deadline=loop.time() + 60))
        await until(lambda: store.writer.waiting == 3)
        # The first one's turn has come: cancelling the call does not cancel what it does.
        first.cancel()
        dropped.cancel()
        gate.open()
        results = await outcomes(first, dropped, late, kept)
        assert [type(result) for result in results[:3]] == [
            asyncio.CancelledError,
            asyncio.CancelledError,
            DeadlinePassed,
        ]
        assert results[3].revisions == (2,)
        assert len(await store.events()) == 2


@pytest.mark.asyncio
async def test_more_than_may_wait_is_refused_at_once(sqlite_url: str) -> None:
    gate = Gate()
    options = WriterOptions(max_waiting=3, max_waiting_bytes=100_000)
    async with opened(sqlite_url, options=options, fail_points=gate.fail_points) as store:
        small = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"))
        large = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), size=65_000)
        calls = [asyncio.create_task(store.writer.execute(small))]
        await gate.reached.wait()
        calls += [asyncio.create_task(store.writer.execute(large)), asyncio.create_task(store.writer.execute(small))]
        await until(lambda: store.writer.waiting == 2)
        with pytest.raises(Overloaded):
            await store.writer.execute(large)
        calls.append(asyncio.create_task(store.writer.execute(small)))
        await until(lambda: store.writer.waiting == 3)
        with pytest.raises(Overloaded) as refused:
            await store.writer.execute(small)
        assert refused.value.limit == 3
        assert 0 < refused.value.retry_after_seconds < 60
        gate.open()
        assert len(await asyncio.gather(*calls)) == 4
        await store.writer.execute(small)


@pytest.mark.asyncio
async def test_stopping_writes_what_waits_and_refuses_the_rest(database_url: str) -> None:
    create = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"))
    async with opened(database_url) as store:
        calls = [asyncio.create_task(store.writer.execute(create)) for _ in range(300)]
        await asyncio.sleep(0)
        await store.writer.stop()
        assert len(await asyncio.gather(*calls)) == 300
        with pytest.raises(Draining):
            await store.writer.execute(create)
        assert len(await store.events()) == 300
