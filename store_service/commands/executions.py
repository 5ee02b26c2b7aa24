"""Writes of executors, and of the sweeper on their behalf."""

from dataclasses import dataclass
from typing import ClassVar

from plangate_core.contract.limits import MAX_ACTION_NAMES, MAX_BATCH, MAX_COMMENT_CHARACTERS, MAX_NAME_CHARACTERS
from store_service.commands.command import Command
from store_service.commands.proposals import OnProposal
from store_service.commands.working_set import Needs, ReadyQuery, Transaction, may_read
from store_service.domain import limits
from store_service.domain.errors import InvalidField, ProposalNotFound
from store_service.domain.events import EventKind
from store_service.domain.instant import Micros
from store_service.domain.lease import Failure
from store_service.domain.proposal import Proposal, ProposalState
from store_service.domain.sizes import proposal_weight
from store_service.domain.transitions import execution, review


@dataclass(frozen=True, kw_only=True)
class ClaimProposals(Command):
    """Leases up to `max_proposals` ready proposals to the actor, fewer when they are large; their answer is empty when
    there are none.

    action_names: what the executor can do; empty means every action.
    lease_duration: None means the store's default.
    """

    action_names: frozenset[str] = frozenset()
    max_proposals: int = 1
    lease_duration: Micros | None = None
    plan_id: str = ""

    @property
    def query(self) -> ReadyQuery:
        return ReadyQuery(self.action_names, self.plan_id, self.actor.scope.executes)

    def check(self) -> None:
        super().check()
        limits.count("action_names", tuple(self.action_names), MAX_ACTION_NAMES)
        for name in self.action_names:
            limits.text("action_names", name, MAX_NAME_CHARACTERS, required=True)
        limits.number("max_proposals", self.max_proposals, 1, MAX_BATCH)
        limits.lease_duration(self.lease_duration)
        limits.text("plan_id", self.plan_id, MAX_NAME_CHARACTERS)

    def collect(self, needs: Needs) -> None:
        needs.claim(self.query, self.max_proposals)

    def apply(self, transaction: Transaction) -> None:
        duration = self.lease_duration or transaction.rules.lease_duration
        claimed_bytes = 0
        for proposal in transaction.claimable(self.query, self.max_proposals):
            transaction.save(execution.claim(proposal, self.actor, transaction.now, duration), answers=True)
            claimed_bytes += proposal_weight(proposal)
            if claimed_bytes > limits.ENOUGH_CLAIMED_BYTES:
                # Leases in an answer that the client does not take would be lost until they run out.
                return


@dataclass(frozen=True, kw_only=True)
class UnderLease(OnProposal):
    """A write under a lease; `attempt` is its fencing token."""

    attempt: int

    def target(self, transaction: Transaction, *, deleted_too: bool = False) -> Proposal:
        """As of any write, also where the actor may not read it: who holds the lease reports."""
        proposal = transaction.proposal(self.proposal_id, unreadable_too=True)
        if (proposal.lease is None or proposal.lease.worker != self.actor.identity) and not may_read(
            self.actor, proposal
        ):
            raise ProposalNotFound(self.proposal_id)
        proposal.expect(self.expected_version)
        return proposal


@dataclass(frozen=True, kw_only=True)
class RenewLease(UnderLease):
    """Prolongs a lease from now on."""

    lease_duration: Micros | None = None

    def check(self) -> None:
        super().check()
        limits.lease_duration(self.lease_duration)

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        duration = self.lease_duration or transaction.rules.lease_duration
        return execution.renew(proposal, self.actor, self.attempt, transaction.now, duration)


@dataclass(frozen=True, kw_only=True)
class CompleteProposal(UnderLease):
    """Reports success. `result_json` is canonical JSON."""

    result_json: str = "{}"

    def collect(self, needs: Needs) -> None:
        super().collect(needs)
        needs.completing.add(self.proposal_id)

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        return execution.complete(proposal, self.actor, self.attempt, transaction.now, result_json=self.result_json)


@dataclass(frozen=True, kw_only=True)
class FailProposal(UnderLease):
    """Reports failure, or, with `not_started`, gives the proposal back unworked."""

    may_end: ClassVar[bool] = True

    failure: Failure
    not_started: bool = False
    retryable: bool = False
    retry_delay: Micros = 0
    result_json: str | None = None

    def check(self) -> None:
        super().check()
        limits.failure("failure", self.failure.reason, self.failure.message)
        limits.number("retry_delay", self.retry_delay, 0, limits.MAX_RETRY_DELAY)
        if self.not_started and self.result_json is not None:
            raise InvalidField("result", "must be absent when nothing was started")

    def apply(self, transaction: Transaction) -> None:
        change = execution.fail(
            self.target(transaction),
            self.actor,
            self.attempt,
            transaction.now,
            failure=self.failure,
            retryable=self.retryable,
            retry_delay=self.retry_delay,
            result_json=self.result_json,
            not_started=self.not_started,
        )
        transaction.save(change, comment=self.failure.message[:MAX_COMMENT_CHARACTERS], answers=True)


@dataclass(frozen=True, kw_only=True)
class ResolveProposal(OnProposal):
    """Says what came of an unreported execution; `comment` is the reason, which must be given.

    done: whether the action was carried out; None when the client did not say.
    retry: when it was not, have it executed again.
    as_executor: the caller's roles allow it for what they may execute only.
    """

    comment_field: ClassVar[str] = "reason"
    version_required: ClassVar[bool] = True
    comment_required: ClassVar[bool] = True
    may_end: ClassVar[bool] = True

    done: bool | None
    retry: bool = False
    result_json: str | None = None
    as_executor: bool = False

    def check(self) -> None:
        super().check()
        if self.done is None:
            raise InvalidField("resolution", "must be RESOLUTION_DONE or RESOLUTION_NOT_DONE")
        if self.done and self.retry:
            raise InvalidField("retry", "must be absent when the action was carried out")
        if not self.done and self.result_json is not None:
            raise InvalidField("result", "must be absent when the action was not carried out")

    def change(self, proposal: Proposal, transaction: Transaction) -> tuple[Proposal, EventKind]:
        scope = self.actor.scope
        if self.as_executor and not scope.may_execute(labels=proposal.labels, action_name=proposal.action_name):
            raise ProposalNotFound(self.proposal_id)
        return execution.resolve(
            proposal,
            self.actor,
            transaction.now,
            transaction.rules,
            done=bool(self.done),
            retry=self.retry,
            result_json=self.result_json,
            reason=self.comment,
        )


@dataclass(frozen=True, kw_only=True)
class ExpireProposal(OnProposal):
    """The sweeper's: ends a proposal whose time is over. Does nothing when that is not so (any more)."""

    may_end: ClassVar[bool] = True

    def collect(self, needs: Needs) -> None:
        super().collect(needs)
        needs.spoilers += 1

    def apply(self, transaction: Transaction) -> None:
        proposal = transaction.find_proposal(self.proposal_id)
        if proposal is not None and proposal.has_expired(transaction.now):
            transaction.save(review.expire(proposal, self.actor, transaction.now), answers=True)


@dataclass(frozen=True, kw_only=True)
class ExpireLease(OnProposal):
    """The sweeper's: takes back a lease that ran out. Does nothing when that is not so (any more)."""

    may_end: ClassVar[bool] = True

    def apply(self, transaction: Transaction) -> None:
        proposal = transaction.find_proposal(self.proposal_id)
        if proposal is None or proposal.state is not ProposalState.EXECUTING:
            return
        if proposal.lease_ran_out(transaction.now) and transaction.is_logged(proposal.id):
            transaction.save(execution.expire_lease(proposal, self.actor, transaction.now), answers=True)
