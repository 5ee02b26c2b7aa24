"""Writes of planners and reviewers to proposals."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from plangate_core.contract.limits import MAX_BATCH, MAX_COMMENT_CHARACTERS
from store_service.commands.command import Command
from store_service.commands.validation import check_new_proposal, check_proposal
from store_service.commands.working_set import Needs, Transaction, may_read
from store_service.domain import limits
from store_service.domain.errors import InvalidField, StoreError
from store_service.domain.events import EventKind
from store_service.domain.lease import Failure
from store_service.domain.proposal import UPDATABLE_FIELDS, Notice, Proposal, ProposalDraft, ProposalState
from store_service.domain.transitions import facts, review
from store_service.domain.transitions.dependencies import same_effect_notice


@dataclass(frozen=True, kw_only=True)
class CreateProposal(Command):
    """Stores a proposal that belongs to no plan, as DRAFT, or PENDING with `submit`."""

    draft: ProposalDraft
    submit: bool = False

    def check(self) -> None:
        super().check()
        check_new_proposal(self.draft, "proposal")

    def collect(self, needs: Needs) -> None:
        needs.proposals.update(self.draft.depends_on)
        if self.draft.effect_key:
            needs.effect_keys.add(self.draft.effect_key)

    def apply(self, transaction: Transaction) -> None:
        waiting_for = _unfinished(transaction, self.draft.depends_on)
        others = transaction.of_effect(self.draft.effect_key) if self.draft.effect_key else []
        change = review.create(
            transaction.new_id(),
            self.draft,
            self.actor,
            transaction.now,
            transaction.rules,
            submit=self.submit,
            waiting_for=waiting_for,
            notices=tuple(same_effect_notice(other, transaction.now) for other in others),
        )
        transaction.save(change, answers=True)


@dataclass(frozen=True, kw_only=True)
class OnProposal(Command):
    """A write to one proposal. `expected_version` 0 means any; `comment` goes to the log."""

    # What the request calls the comment.
    comment_field: ClassVar[str] = "comment"
    comment_required: ClassVar[bool] = False
    version_required: ClassVar[bool] = False
    # Whether it may end otherwise than EXECUTED by this.
    may_end: ClassVar[bool] = False

    proposal_id: str
    expected_version: int = 0
    comment: str = ""

    def check(self) -> None:
        super().check()
        limits.resource_id("id", self.proposal_id)
        limits.expected_version(self.expected_version, required=self.version_required)
        limits.text(self.comment_field, self.comment, MAX_COMMENT_CHARACTERS, required=self.comment_required)

    def collect(self, needs: Needs) -> None:
        needs.proposals.add(self.proposal_id)
        if self.may_end:
            needs.ending.add(self.proposal_id)

    def target(self, transaction: Transaction, *, deleted_too: bool = False) -> Proposal:
        """The proposal. Raises ProposalNotFound, VersionConflict and NotTheCreator."""
        proposal = transaction.proposal(self.proposal_id, deleted_too=deleted_too)
        proposal.expect(self.expected_version)
        self.require_creator(proposal)
        return proposal

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        """Its next version. Raises what `apply` may raise."""
        raise NotImplementedError

    def apply(self, transaction: Transaction) -> None:
        change = self.change(self.target(transaction), transaction)
        transaction.save(change, comment=self.comment, answers=True)


@dataclass(frozen=True, kw_only=True)
class UpdateProposal(OnProposal):
    """Replaces the named fields and voids the approvals. `fields` empty means all that may change."""

    version_required: ClassVar[bool] = True

    draft: ProposalDraft
    fields: frozenset[str] = frozenset()

    def check(self) -> None:
        super().check()
        for name in sorted(self.fields - UPDATABLE_FIELDS):
            raise InvalidField("update_mask", f"names {name[:64]!r}, which cannot be updated")
        check_proposal(self.draft, "proposal", self._changed)

    @property
    def _changed(self) -> frozenset[str]:
        return self.fields or UPDATABLE_FIELDS

    def collect(self, needs: Needs) -> None:
        super().collect(needs)
        if "depends_on" in self._changed:
            needs.proposals.update(self.draft.depends_on)
            # Those that wait for this one must not be waited for by it.
            needs.ending.add(self.proposal_id)
        if "effect_key" in self._changed and self.draft.effect_key:
            needs.effect_keys.add(self.draft.effect_key)

    def apply(self, transaction: Transaction) -> None:
        proposal = self.target(transaction)
        waiting_for, notices = None, list[Notice]()
        if "depends_on" in self._changed and self.draft.depends_on != proposal.depends_on:
            waiting_for = _unfinished(transaction, self.draft.depends_on)
            for position, needed in enumerate(self.draft.depends_on):
                if needed == proposal.id or transaction.depends_on_transitively(needed, proposal.id):
                    raise InvalidField(f"proposal.depends_on[{position}]", f"proposal {needed} waits for this one")
        if "effect_key" in self._changed and self.draft.effect_key and self.draft.effect_key != proposal.effect_key:
            others = transaction.of_effect(self.draft.effect_key)
            notices = [same_effect_notice(other, transaction.now) for other in others if other.id != proposal.id]
        change = review.update(
            proposal,
            self.draft,
            self._changed,
            self.actor,
            transaction.now,
            transaction.rules,
            waiting_for=waiting_for,
            notices=tuple(notices),
        )
        fetches: list[tuple[Proposal, EventKind]] = []
        if "facts" in self._changed:
            revised, kind = change
            revised, fetches = facts.with_fetches(
                revised, self.draft.facts, self.actor, transaction.now, transaction.rules, transaction.new_id
            )
            change = revised, kind
        transaction.save(change, comment=self.comment, answers=True)
        for fetch in fetches:
            transaction.save(fetch)


@dataclass(frozen=True, kw_only=True)
class SubmitProposal(OnProposal):
    """Puts a draft up for review."""

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.submit(proposal, self.actor, transaction.now)


@dataclass(frozen=True, kw_only=True)
class ApproveProposal(OnProposal):
    """The actor's yes to exactly the version read. `args_digest` is compared when given."""

    version_required: ClassVar[bool] = True

    args_digest: str = ""

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.approve(
            proposal,
            self.actor,
            transaction.now,
            transaction.rules,
            expected_args_digest=self.args_digest,
            comment=self.comment,
        )


@dataclass(frozen=True, kw_only=True)
class BreakGlass(OnProposal):
    """One admin's part in overriding the review; `comment` is the reason, which must be given."""

    comment_field: ClassVar[str] = "reason"
    comment_required: ClassVar[bool] = True
    version_required: ClassVar[bool] = True

    args_digest: str = ""

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.break_glass(
            proposal,
            self.actor,
            transaction.now,
            transaction.rules,
            expected_args_digest=self.args_digest,
            reason=self.comment,
        )


@dataclass(frozen=True, kw_only=True)
class WithdrawApproval(OnProposal):
    """Takes the actor's own approval back while the proposal is PENDING."""

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.withdraw_approval(proposal, self.actor, transaction.now)


@dataclass(frozen=True, kw_only=True)
class RejectProposal(OnProposal):
    """The actor's no; `comment` is the reason, which must be given."""

    comment_field: ClassVar[str] = "reason"
    comment_required: ClassVar[bool] = True
    version_required: ClassVar[bool] = True
    may_end: ClassVar[bool] = True

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.reject(proposal, self.actor, transaction.now, reason=self.comment)


@dataclass(frozen=True, kw_only=True)
class CancelProposal(OnProposal):
    """Cancels, or asks the executor to stop; `comment` is the reason."""

    comment_field: ClassVar[str] = "reason"
    may_end: ClassVar[bool] = True

    def collect(self, needs: Needs) -> None:
        super().collect(needs)
        needs.spoilers += 1

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return review.cancel(proposal, self.actor, transaction.now, Failure("CANCELLED", self.comment))


@dataclass(frozen=True, kw_only=True)
class DeleteProposal(OnProposal):
    """Hides a draft or a final proposal, or removes it for good."""

    may_end: ClassVar[bool] = True

    purge: bool = False

    def apply(self, transaction: Transaction) -> None:
        proposal = self.target(transaction, deleted_too=self.purge)
        change = review.delete(proposal, self.actor, transaction.now, purge=self.purge)
        transaction.save(change, comment=self.comment, answers=True, purged=self.purge)


@dataclass(frozen=True, kw_only=True)
class Batch(Command):
    """Several that stand or fall together."""

    parts: tuple[Command, ...]

    def check(self) -> None:
        super().check()
        limits.count("requests", self.parts, MAX_BATCH, least=1)
        for index, part in enumerate(self.parts):
            with _at(index):
                part.check()

    def collect(self, needs: Needs) -> None:
        for part in self.parts:
            part.collect(needs)

    def apply(self, transaction: Transaction) -> None:
        for index, part in enumerate(self.parts):
            with _at(index):
                part.apply(transaction)


class BatchCreateProposals(Batch):
    """Several new proposals."""


@dataclass(frozen=True, kw_only=True)
class BatchApproveProposals(Batch):
    """Several yeses, each to another proposal."""

    parts: tuple[ApproveProposal, ...]

    def check(self) -> None:
        super().check()
        seen: set[str] = set()
        for index, approval in enumerate(self.parts):
            with _at(index):
                if approval.proposal_id in seen:
                    raise InvalidField("id", "must name each proposal once")
            seen.add(approval.proposal_id)


def _unfinished(transaction: Transaction, depends_on: Sequence[str]) -> int:
    """How many of these have not ended yet. Raises InvalidField for one that cannot be EXECUTED any more."""
    unfinished = 0
    for position, needed in enumerate(depends_on):
        dependency = transaction.find_proposal(needed)
        if dependency is not None and not may_read(transaction.actor, dependency):
            dependency = None
        if dependency is None or (dependency.has_ended and dependency.state is not ProposalState.EXECUTED):
            state = "does not exist" if dependency is None else f"is {dependency.state.value}"
            raise InvalidField(f"proposal.depends_on[{position}]", f"proposal {needed} {state}")
        unfinished += dependency.state is not ProposalState.EXECUTED
    return unfinished


@contextmanager
def _at(index: int) -> Iterator[None]:
    """Says in an error which part of a batch request it is about."""
    try:
        yield
    except InvalidField as error:
        nested = InvalidField(f"requests[{index}].{error.path}", error.description)
        nested.index = index
        raise nested from None
    except StoreError as error:
        error.index = index
        raise
