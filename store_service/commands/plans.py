"""Writes to plans: of requesters, of planners, and of the sweeper."""

from dataclasses import dataclass
from typing import ClassVar

from plangate_core.contract.limits import MAX_BATCH, MAX_COMMENT_CHARACTERS, MAX_JOBS
from store_service.commands.command import Command
from store_service.commands.validation import check_generated, check_generation, check_plan
from store_service.commands.working_set import Needs, Transaction
from store_service.domain import limits
from store_service.domain.events import EventKind
from store_service.domain.instant import Micros
from store_service.domain.lease import Failure
from store_service.domain.plan import GeneratedPlan, Plan, PlanDraft, PlanState
from store_service.domain.sizes import queued_plan_weight
from store_service.domain.transitions import planning, review


@dataclass(frozen=True, kw_only=True)
class CreatePlan(Command):
    """Stores a plan, and the proposals of its jobs when it is PLANNED."""

    draft: PlanDraft

    def check(self) -> None:
        super().check()
        check_plan(self.draft)

    def collect(self, needs: Needs) -> None:
        needs.effect_keys.update(job.effect_key for job in self.draft.jobs if job.effect_key)

    def apply(self, transaction: Transaction) -> None:
        plan, kind = planning.create(transaction.new_id(), self.draft, self.actor, transaction.now, transaction.rules)
        _save_with_proposals(transaction, (plan, kind))


@dataclass(frozen=True, kw_only=True)
class ClaimPlans(Command):
    """Leases up to `max_plans` queued plans to the actor, fewer when they are large; the answer is empty when there are
    none."""

    max_plans: int = 1
    lease_duration: Micros | None = None

    def check(self) -> None:
        super().check()
        limits.number("max_plans", self.max_plans, 1, MAX_BATCH)
        limits.lease_duration(self.lease_duration)

    def collect(self, needs: Needs) -> None:
        needs.queued_plans += self.max_plans

    def apply(self, transaction: Transaction) -> None:
        duration = self.lease_duration or transaction.rules.lease_duration
        claimed_bytes = 0
        for _ in range(self.max_plans):
            plan = transaction.next_queued_plan()
            if plan is None:
                return
            transaction.save_plan(planning.claim(plan, self.actor, transaction.now, duration), answers=True)
            claimed_bytes += queued_plan_weight(plan)
            if claimed_bytes > limits.ENOUGH_CLAIMED_BYTES:
                # Leases in an answer that the client does not take would be lost until they run out.
                return


@dataclass(frozen=True, kw_only=True)
class OnPlan(Command):
    """A write to one plan. `expected_version` 0 means any; `comment` goes to the log."""

    # What the request calls the comment.
    comment_field: ClassVar[str] = "comment"

    plan_id: str
    expected_version: int = 0
    comment: str = ""

    def check(self) -> None:
        super().check()
        limits.resource_id("id", self.plan_id)
        limits.expected_version(self.expected_version)
        limits.text(self.comment_field, self.comment, MAX_COMMENT_CHARACTERS)

    def collect(self, needs: Needs) -> None:
        needs.plans.add(self.plan_id)

    def target(self, transaction: Transaction, *, deleted_too: bool = False) -> Plan:
        """The plan. Raises PlanNotFound, VersionConflict and NotTheCreator."""
        plan = transaction.plan(self.plan_id, deleted_too=deleted_too)
        plan.expect(self.expected_version)
        self.require_creator(plan)
        return plan


@dataclass(frozen=True, kw_only=True)
class RenewPlanLease(OnPlan):
    """Prolongs a planner's lease from now on. `attempt` is the fencing token, here and below."""

    attempt: int
    lease_duration: Micros | None = None

    def check(self) -> None:
        super().check()
        limits.lease_duration(self.lease_duration)

    def apply(self, transaction: Transaction) -> None:
        duration = self.lease_duration or transaction.rules.lease_duration
        change = planning.renew(self.target(transaction), self.actor, self.attempt, transaction.now, duration)
        transaction.save_plan(change, answers=True)


@dataclass(frozen=True, kw_only=True)
class CompletePlanning(OnPlan):
    """Stores what was generated, with the proposals of its jobs."""

    attempt: int
    generated: GeneratedPlan

    def check(self) -> None:
        super().check()
        check_generated(self.generated)

    def collect(self, needs: Needs) -> None:
        super().collect(needs)
        needs.effect_keys.update(job.effect_key for job in self.generated.jobs if job.effect_key)

    def apply(self, transaction: Transaction) -> None:
        change = planning.complete(self.target(transaction), self.actor, self.attempt, transaction.now, self.generated)
        _save_with_proposals(transaction, change)


@dataclass(frozen=True, kw_only=True)
class FailPlanning(OnPlan):
    """Gives a claimed plan up, or, when `interrupted`, back. `retry_delay` None means the store's backoff, or none."""

    attempt: int
    failure: Failure
    generation: bytes | None = None
    retryable: bool = False
    retry_delay: Micros | None = None
    interrupted: bool = False

    def check(self) -> None:
        super().check()
        limits.failure("failure", self.failure.reason, self.failure.message)
        check_generation(self.generation, "generation")
        if self.retry_delay is not None:
            limits.number("retry_delay", self.retry_delay, 0, limits.MAX_RETRY_DELAY)

    def apply(self, transaction: Transaction) -> None:
        change = planning.fail(
            self.target(transaction),
            self.actor,
            self.attempt,
            transaction.now,
            transaction.rules,
            failure=self.failure,
            generation=self.generation,
            retryable=self.retryable,
            retry_delay=self.retry_delay,
            interrupted=self.interrupted,
        )
        transaction.save_plan(change, comment=self.failure.message[:MAX_COMMENT_CHARACTERS], answers=True)


@dataclass(frozen=True, kw_only=True)
class CancelPlan(OnPlan):
    """Cancels a plan and its open proposals; `comment` is the reason."""

    comment_field: ClassVar[str] = "reason"

    def collect(self, needs: Needs) -> None:
        needs.plans.add(self.plan_id)
        needs.ending_plans.add(self.plan_id)
        needs.spoilers += MAX_JOBS
        needs.plan_spoilers += 1

    def apply(self, transaction: Transaction) -> None:
        plan = self.target(transaction)
        failure = Failure("CANCELLED", self.comment)
        transaction.save_plan(
            planning.cancel(plan, self.actor, transaction.now, failure), comment=self.comment, answers=True
        )
        for proposal in transaction.proposals_of(plan.id):
            # Read again: cancelling an earlier one may have ended it.
            current = transaction.proposal(proposal.id, deleted_too=True, unreadable_too=True)
            if not current.has_ended:
                transaction.save(review.cancel(current, self.actor, transaction.now, failure), comment=self.comment)


@dataclass(frozen=True, kw_only=True)
class DeletePlan(OnPlan):
    """Hides a plan and its proposals, or removes them for good. Not while one of them is open."""

    purge: bool = False

    def collect(self, needs: Needs) -> None:
        needs.plans.add(self.plan_id)
        needs.ending_plans.add(self.plan_id)

    def apply(self, transaction: Transaction) -> None:
        plan = self.target(transaction, deleted_too=self.purge)
        proposals = transaction.proposals_of(plan.id)
        still_open = sum(not proposal.has_ended for proposal in proposals)
        change = planning.delete(plan, still_open, self.actor, transaction.now, purge=self.purge)
        transaction.save_plan(change, comment=self.comment, answers=True, purged=self.purge)
        for proposal in proposals:
            if self.purge or proposal.delete_time is None:
                hidden = review.delete(proposal, self.actor, transaction.now, purge=self.purge)
                transaction.save(hidden, comment=self.comment, purged=self.purge)


@dataclass(frozen=True, kw_only=True)
class ExpirePlanLease(OnPlan):
    """The sweeper's: takes back a planner's lease that ran out. Does nothing when that is not so (any more)."""

    def apply(self, transaction: Transaction) -> None:
        plan = transaction.find_plan(self.plan_id)
        if plan is not None and plan.lease_ran_out(transaction.now):
            transaction.save_plan(planning.expire_lease(plan, self.actor, transaction.now), answers=True)


def _save_with_proposals(transaction: Transaction, change: tuple[Plan, EventKind]) -> None:
    plan, kind = change
    if plan.state is not PlanState.PLANNED:
        transaction.save_plan(change, answers=True)
        return
    plan, born = planning.with_proposals(
        plan, transaction.actor, transaction.now, transaction.rules, transaction.new_id, transaction.of_effect
    )
    transaction.save_plan((plan, kind), answers=True)
    for proposal, proposal_kind, comment in born:
        transaction.save((proposal, proposal_kind), comment=comment)
