"""What a batch of writes works on: the entities as the batch sees them, and each command's own changes on top.

The writer loads what the commands say they need (`Needs`), applies them in order, each to a `Transaction` of its own,
and merges a transaction into the `WorkingSet` only if its command succeeded. Entities are frozen, so a command that
fails half-way has changed nothing but its own transaction, which is thrown away.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from plangate_core.contract.scopes import Selection
from store_service.domain.actor import SWEEPER, Actor
from store_service.domain.errors import LogMismatch, PlanNotFound, ProposalNotFound
from store_service.domain.events import Event, EventKind
from store_service.domain.instant import Instant
from store_service.domain.log_audit import consent_fault
from store_service.domain.plan import Plan, PlanState
from store_service.domain.proposal import (
    EFFECTIVE_STATES,
    IN_REVIEW_STATES,
    IN_WORK_STATES,
    Notice,
    OnRefusal,
    Proposal,
    ProposalState,
)
from store_service.domain.rules import Rules
from store_service.domain.snapshot import LogRules
from store_service.domain.transitions.dependencies import dependency_failure, notice_of
from store_service.domain.transitions.facts import record
from store_service.domain.transitions.review import add_notice, cancel, return_to_review
from store_service.domain.transitions.standing import RolesOf, lost_consent

# Of the proposals with the effect of a new one, so many are named to its reviewers: the newest.
SAME_EFFECTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """Which proposals an executor can run. No action names: every action. No plan: of any plan.

    executes: what the executor may claim; None: everything.
    """

    action_names: frozenset[str] = frozenset()
    plan_id: str = ""
    executes: tuple[Selection, ...] | None = None

    def takes(self, action_name: str) -> bool:
        """Whether proposals of this action may match."""
        return (not self.action_names or action_name in self.action_names) and (
            self.executes is None or any(each.takes(action_name) for each in self.executes)
        )

    def matches(self, proposal: Proposal) -> bool:
        return (
            (not self.action_names or proposal.action_name in self.action_names)
            and (not self.plan_id or proposal.plan_id == self.plan_id)
            and (
                self.executes is None
                or any(each.includes(proposal.labels, proposal.action_name) for each in self.executes)
            )
        )


def may_read(actor: Actor, entity: Plan | Proposal) -> bool:
    """Whether it is in the actor's scope."""
    action_name = entity.action_name if isinstance(entity, Proposal) else ""
    return actor.scope.may_read(
        actor.identity, created_by=entity.created_by, labels=entity.labels, action_name=action_name
    )


@dataclass(slots=True)
class Needs:
    """What the commands of a batch want to see. Collected before anything is loaded."""

    plans: set[str] = field(default_factory=set)
    proposals: set[str] = field(default_factory=set)
    # Proposals that may be EXECUTED by the batch: their direct dependents are needed.
    completing: set[str] = field(default_factory=set)
    # Proposals that may end otherwise: all that wait for them, directly or not, are needed.
    ending: set[str] = field(default_factory=set)
    # Plans whose proposals may end: those are needed, and all that wait for them.
    ending_plans: set[str] = field(default_factory=set)
    # Effects of proposals that the batch makes: those that have them already are needed.
    effect_keys: set[str] = field(default_factory=set)
    # Which catalogue and policy are in force for each planner.
    governance: bool = False
    # How many ready proposals are wanted, by what the executors can do.
    ready: dict[ReadyQuery, int] = field(default_factory=dict)
    # How many queued plans are wanted.
    queued_plans: int = 0
    # How many candidates other commands of the batch may take away before it is a claim's turn.
    spoilers: int = 0
    # The same of queued plans.
    plan_spoilers: int = 0

    def claim(self, query: ReadyQuery, count: int) -> None:
        """`count` more proposals that fit the query."""
        self.ready[query] = self.ready.get(query, 0) + count


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One new version of one entity: what becomes one event. `answers`: it is (part of) the client's answer."""

    entity: Plan | Proposal
    kind: EventKind
    actor: Actor
    comment: str
    answers: bool


class PlanQueue:
    """Queued plans that may be claimed now: by priority, then by requester, oldest first."""

    def __init__(self) -> None:
        self._plans: dict[int, dict[str, deque[str]]] = {}

    def add(self, priority: int, requester: str, plan_id: str) -> None:
        """Plans of one requester and priority are added oldest first."""
        self._plans.setdefault(priority, {}).setdefault(requester, deque()).append(plan_id)

    def take(self, in_work: dict[str, int]) -> str | None:
        """Removes and returns the id of the next plan.

        That is one of the highest priority; among those one of the requester with the fewest plans in work; between
        such requesters the oldest plan.
        """
        while self._plans:
            priority = max(self._plans)
            requesters = self._plans[priority]
            if not requesters:
                del self._plans[priority]
                continue
            requester = min(requesters, key=lambda name: (in_work.get(name, 0), requesters[name][0]))
            plan_id = requesters[requester].popleft()
            if not requesters[requester]:
                del requesters[requester]
            return plan_id
        return None


class WorkingSet:
    """The entities a batch works on. `plans` and `proposals` are as loaded (None: does not exist); `changed_...` are as
    the commands applied so far left them (None: removed for good)."""

    def __init__(
        self,
        now: Instant,
        rules: Rules,
        new_id: Callable[[], str],
        log_rules: LogRules | None = None,
        roles_of: RolesOf = lambda _: None,
    ) -> None:
        """`log_rules` compare rows with the log; None: they are taken as they are."""
        self.roles_of = roles_of
        self.now = now
        self.rules = rules
        self.new_id = new_id
        self.plans: dict[str, Plan | None] = {}
        self.proposals: dict[str, Proposal | None] = {}
        # What the log says of the proposals loaded, and those whose row says something else.
        self.snapshots: dict[str, bytes | None] = {}
        self.mismatched: set[str] = set()
        # All events of the candidates of claims, plans and proposals.
        self.histories: dict[str, list[Event]] = {}
        self._log_rules = log_rules
        self.changed_plans: dict[str, Plan | None] = {}
        self.changed_proposals: dict[str, Proposal | None] = {}
        # Who waits for a proposal: has an entry for each proposal that Needs named and each made in this batch.
        self.dependents: dict[str, set[str]] = {}
        self.proposals_of: dict[str, set[str]] = {}
        # The digest in force for each planner, and what the batch changes of it.
        self.governance: dict[str, str] = {}
        self.changed_governance: dict[str, str] = {}
        # Proposals with an effect, newest first, and effects that claims of this batch took up.
        self.of_effect: dict[str, list[str]] = {}
        self.effects_claimed: set[str] = set()
        # Candidates of claims: highest priority first, then oldest.
        self.ready: dict[ReadyQuery, deque[str]] = {}
        self.plan_queue = PlanQueue()
        # Plans in state PLANNING by requester: what fairness counts.
        self.plans_in_work: dict[str, int] = {}

    def find_plan(self, plan_id: str) -> Plan | None:
        if plan_id in self.changed_plans:
            return self.changed_plans[plan_id]
        return self.plans.get(plan_id)

    def find_proposal(self, proposal_id: str) -> Proposal | None:
        if proposal_id in self.changed_proposals:
            return self.changed_proposals[proposal_id]
        return self.proposals.get(proposal_id)

    def is_logged(self, proposal_id: str) -> bool:
        """Whether the row of a proposal was what the log says, and what is approved was agreed to."""
        loaded = self.proposals.get(proposal_id)
        log_rules = self._log_rules
        if loaded is None or log_rules is None:
            return True
        snapshot = self.snapshots.get(proposal_id)
        if snapshot is None or not log_rules.is_snapshot_of(snapshot, loaded) or consent_fault(loaded):
            self.mismatched.add(proposal_id)
            return False
        return True

    def is_agreed_to(self, proposal_id: str) -> bool:
        """Whether the log says that a candidate of a claim was approved as the rules ask, from its beginning on."""
        if not self.is_logged(proposal_id):
            return False
        loaded = self.proposals.get(proposal_id)
        if self._log_rules is None or loaded is None:
            return True
        fault = self._log_rules.history_fault(self.histories.get(proposal_id, ()))
        if fault or not all(map(self._has_happened, loaded.depends_on)):
            self.mismatched.add(proposal_id)
            return False
        return True

    def is_requested(self, plan_id: str) -> bool:
        """Whether the log says of a candidate of a claim, a queued plan, what its row says."""
        loaded = self.plans.get(plan_id)
        if loaded is None or self._log_rules is None:
            return True
        history = self.histories.get(plan_id, [])
        if self._log_rules.history_fault(history) or not self._log_rules.is_snapshot_of(history[-1].snapshot, loaded):
            self.mismatched.add(plan_id)
            return False
        return True

    def _has_happened(self, proposal_id: str) -> bool:
        """Whether this dependency of a claim's candidate has ended. Checked because the log does not hold the count of
        those that have not. A purged proposal had ended."""
        needed = self.find_proposal(proposal_id)
        return needed is None or (needed.has_ended and self.is_logged(proposal_id))

    def merge(self, transaction: "Transaction") -> None:
        """Makes a command's changes visible to those after it."""
        self.changed_plans.update(transaction.plans)
        self.changed_proposals.update(transaction.proposals)
        self.changed_governance.update(transaction.governance)
        for proposal in transaction.created:
            self.dependents.setdefault(proposal.id, set())
            if proposal.plan_id:
                self.proposals_of.setdefault(proposal.plan_id, set()).add(proposal.id)
        for changed in transaction.proposals.values():
            if changed is None:
                continue
            self._depend(changed)
            if changed.effect_key:
                if changed.id not in (others := self.of_effect.setdefault(changed.effect_key, [])):
                    others.insert(0, changed.id)
                if changed.state in IN_WORK_STATES:
                    self.effects_claimed.add(changed.effect_key)
        for requester, difference in transaction.plans_in_work.items():
            self.plans_in_work[requester] = self.plans_in_work.get(requester, 0) + difference

    def _depend(self, proposal: Proposal) -> None:
        for needed in proposal.awaited:
            self.dependents.setdefault(needed, set()).add(proposal.id)


class Transaction:
    """One command's view of the working set, and what it changes."""

    def __init__(self, working_set: WorkingSet, actor: Actor) -> None:
        self.actor = actor
        self.now = working_set.now
        self.rules = working_set.rules
        self.new_id = working_set.new_id
        self.plans: dict[str, Plan | None] = {}
        self.proposals: dict[str, Proposal | None] = {}
        self.created: list[Proposal] = []
        self.changes: list[Change] = []
        self.plans_in_work: dict[str, int] = {}
        self.governance: dict[str, str] = {}
        self._base = working_set

    def find_plan(self, plan_id: str) -> Plan | None:
        """The plan, deleted or not, or None when there is none."""
        if plan_id in self.plans:
            return self.plans[plan_id]
        return self._base.find_plan(plan_id)

    def plan(self, plan_id: str, *, deleted_too: bool = False) -> Plan:
        """Raises PlanNotFound, also for one that the actor may not read."""
        plan = self.find_plan(plan_id)
        if plan is None or (plan.delete_time is not None and not deleted_too) or not may_read(self.actor, plan):
            raise PlanNotFound(plan_id)
        return plan

    def find_proposal(self, proposal_id: str) -> Proposal | None:
        """The proposal, deleted or not, or None when there is none."""
        if proposal_id in self.proposals:
            return self.proposals[proposal_id]
        return self._base.find_proposal(proposal_id)

    def proposal(self, proposal_id: str, *, deleted_too: bool = False, unreadable_too: bool = False) -> Proposal:
        """Raises ProposalNotFound, also for one that the actor may not read."""
        proposal = self.find_proposal(proposal_id)
        if proposal is None or (proposal.delete_time is not None and not deleted_too):
            raise ProposalNotFound(proposal_id)
        if not (unreadable_too or may_read(self.actor, proposal)):
            raise ProposalNotFound(proposal_id)
        return proposal

    def proposals_of(self, plan_id: str) -> list[Proposal]:
        """The plan's proposals, deleted ones too, oldest first."""
        found = (self.find_proposal(proposal_id) for proposal_id in sorted(self._base.proposals_of.get(plan_id, ())))
        return [proposal for proposal in found if proposal is not None]

    def claimable(self, query: ReadyQuery, count: int) -> Iterator[Proposal]:
        """Up to `count` proposals that may be claimed now: highest priority first, then oldest. One at a time: what is
        not taken is left to other claims.

        What became ready in this very batch is not among them: its command was not answered yet either, and those
        who wait for work are woken after the commit.
        """
        candidates = self._base.ready.get(query, deque())
        while candidates and count:
            proposal = self.find_proposal(candidates.popleft())
            if proposal is None or not proposal.is_claimable(self.now) or self._effect_is_claimed(proposal):
                continue
            if not self._is_decided_under_what_is_in_force(proposal):
                continue
            if not self._base.is_agreed_to(proposal.id):
                continue
            if lost := lost_consent(proposal, self._base.roles_of):
                notice = Notice("BACK_TO_REVIEW", lost, self.now)
                self._keep(return_to_review(proposal, notice, SWEEPER, self.now), lost, actor=SWEEPER)
                continue
            count -= 1
            yield proposal

    def is_logged(self, proposal_id: str) -> bool:
        """Whether the row of a proposal is what the log says."""
        return self._base.is_logged(proposal_id)

    def of_effect(self, effect_key: str) -> list[Proposal]:
        """Proposals that may have, or have had, this effect: the newest."""
        found = (self.find_proposal(proposal_id) for proposal_id in self._base.of_effect.get(effect_key, ()))
        return [
            each
            for each in (*found, *self.created)
            if each is not None
            and each.effect_key == effect_key
            and each.delete_time is None
            and each.state in EFFECTIVE_STATES
        ][-SAME_EFFECTS_SHOWN:]

    def depends_on_transitively(self, proposal_id: str, other_id: str) -> bool:
        """Whether the one waits for the other, directly or through others. Needs named `other_id` as ending."""
        pending, seen = [other_id], set[str]()
        while pending:
            for dependent_id in self._base.dependents.get(pending.pop(), ()):
                if dependent_id == proposal_id:
                    return True
                if dependent_id not in seen:
                    seen.add(dependent_id)
                    pending.append(dependent_id)
        return False

    def set_governance(self, planner: str, digest: str) -> None:
        """What is in force for a planner from now on; empty: nothing."""
        if self._base.governance.get(planner, "") != digest:
            self.governance[planner] = digest

    def _is_decided_under_what_is_in_force(self, proposal: Proposal) -> bool:
        decision = proposal.decision
        if decision is None or not decision.decided_by:
            return True
        planner = decision.decided_by
        in_force = self._base.changed_governance.get(planner, self._base.governance.get(planner, ""))
        return not in_force or in_force == decision.governance_digest

    def _effect_is_claimed(self, proposal: Proposal) -> bool:
        """Whether a claim of this batch, which the database does not know yet, took up its effect."""
        key = proposal.effect_key
        return bool(key) and (
            key in self._base.effects_claimed
            or any(
                each is not None and each.effect_key == key and each.state in IN_WORK_STATES
                for each in self.proposals.values()
            )
        )

    def next_queued_plan(self) -> Plan | None:
        """The plan that a planner should take next, if there is one."""
        in_work = {**self._base.plans_in_work}
        for requester, difference in self.plans_in_work.items():
            in_work[requester] = in_work.get(requester, 0) + difference
        while (plan_id := self._base.plan_queue.take(in_work)) is not None:
            plan = self.find_plan(plan_id)
            if (
                plan is not None
                and plan.state is PlanState.QUEUED
                and plan.delete_time is None
                and plan.is_due(self.now)
                and self._base.is_requested(plan_id)
            ):
                return plan
        return None

    def save_plan(
        self, change: tuple[Plan, EventKind], *, comment: str = "", answers: bool = False, purged: bool = False
    ) -> None:
        """Keeps a new or changed plan."""
        plan, kind = change
        before = self.find_plan(plan.id)
        difference = (plan.state is PlanState.PLANNING) - (before is not None and before.state is PlanState.PLANNING)
        if difference:
            self.plans_in_work[plan.created_by] = self.plans_in_work.get(plan.created_by, 0) + difference
        self.plans[plan.id] = None if purged else plan
        self.changes.append(Change(entity=plan, kind=kind, actor=self.actor, comment=comment, answers=answers))

    def save(
        self, change: tuple[Proposal, EventKind], *, comment: str = "", answers: bool = False, purged: bool = False
    ) -> None:
        """Keeps a new or changed proposal, and does to those that wait for it what its end means for them.

        Raises LogMismatch for one that goes on and whose row is not what the log says.
        """
        proposal, _ = change
        before = self.find_proposal(proposal.id)
        if before is not None and not proposal.has_ended and not self._base.is_logged(proposal.id):
            # A new entry that agrees with the row would make the forgery the log's own word.
            raise LogMismatch(proposal.id)
        self._keep(change, comment, answers=answers, purged=purged)
        if before is None:
            self.created.append(proposal)
        elif proposal.has_ended and not before.has_ended:
            self._settle(proposal)

    def _settle(self, ended: Proposal) -> None:
        pending = [ended]
        while pending:
            ended = pending.pop()
            failure = None if ended.state is ProposalState.EXECUTED else dependency_failure(ended)
            for dependent_id in sorted(self._base.dependents[ended.id]):
                dependent = self.find_proposal(dependent_id)
                if dependent is None or dependent.has_ended:
                    continue
                if any(fact.proposal_id == ended.id for fact in dependent.facts_outstanding):
                    if dependent.state in IN_REVIEW_STATES and self._base.is_logged(dependent_id):
                        self._keep(record(dependent, ended, self.actor, self.now))
                    continue
                if ended.id not in dependent.depends_on:
                    continue
                if failure is None:
                    # Bookkeeping, not a new version: a reviewer who reads the dependent now must not be disturbed.
                    self.proposals[dependent_id] = dependent.evolve(waiting_for=dependent.waiting_for - 1)
                    continue
                if dependent.on_refusal in (OnRefusal.ASK, OnRefusal.CONTINUE) and self._base.is_logged(dependent_id):
                    notice = notice_of(
                        failure, dependent.on_refusal, self.now, proposal_id=ended.id, job_id=ended.job_id
                    )
                    settled = dependent.evolve(waiting_for=dependent.waiting_for - 1)
                    asks = dependent.on_refusal is OnRefusal.ASK and dependent.state is ProposalState.APPROVED
                    tell = return_to_review if asks else add_notice
                    self._keep(tell(settled, notice, self.actor, self.now), notice.message)
                    continue
                pending.append(self._keep(cancel(dependent, self.actor, self.now, failure), failure.message))

    def _keep(
        self,
        change: tuple[Proposal, EventKind],
        comment: str = "",
        *,
        answers: bool = False,
        purged: bool = False,
        actor: Actor | None = None,
    ) -> Proposal:
        proposal, kind = change
        self.proposals[proposal.id] = None if purged else proposal
        self.changes.append(
            Change(entity=proposal, kind=kind, actor=actor or self.actor, comment=comment, answers=answers)
        )
        return proposal
