"""The lifecycle, replayed over the log: which entry no rule allows.

The chain of hashes proves that entries were not changed; these rules prove that somebody was allowed to write them.
They go by what the entries themselves say: states, approvals, requirements, writers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from store_service.domain.events import EventKind
from store_service.domain.lifecycle import (
    PLAN_LIFECYCLE,
    PROPOSAL_LIFECYCLE,
    Command,
    Lifecycle,
    PlanCommand,
    ProposalCommand,
    State,
)
from store_service.domain.plan import PlanState
from store_service.domain.proposal import Effect, Proposal, ProposalState
from store_service.domain.transitions.requirements import (
    approvals_missing,
    is_broken_glass,
    is_same_person,
    lowered_role,
    requirements_of,
)

_K = EventKind
_C = ProposalCommand
_P = ProposalState


@dataclass(frozen=True, slots=True)
class ProposalEntry:
    """What an entry of the log says of a proposal. Of `proposal`, what the rules do not look at may be left out.

    args: the arguments, encoded so that the same ones give the same bytes.
    args_fit: whether args_digest is that of the arguments.
    facts: what reviewers see besides, encoded likewise. facts_outstanding: whether some are still being fetched.
    """

    kind: str
    actor: str
    via: str
    proposal: Proposal
    args: bytes
    args_fit: bool
    facts: bytes = b""
    facts_outstanding: bool = False

    @property
    def version(self) -> int:
        return self.proposal.version

    @property
    def ended(self) -> bool:
        return self.proposal.has_ended


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """What an entry of the log says of a plan. jobs: its jobs, encoded so that the same ones give the same bytes."""

    kind: str
    state: PlanState
    version: int
    jobs: bytes

    @property
    def ended(self) -> bool:
        return self.state in (PlanState.FAILED, PlanState.CANCELLED)


# Which commands write an entry of this kind, and where they lead then (all that the lifecycle allows, if None).
_STEPS: Mapping[str, tuple[tuple[ProposalCommand, ...], frozenset[ProposalState] | None]] = {
    _K.PROPOSAL_UPDATED: ((_C.UPDATE,), None),
    _K.PROPOSAL_SUBMITTED: ((_C.SUBMIT,), None),
    _K.PROPOSAL_APPROVAL_GIVEN: ((_C.APPROVE,), frozenset({_P.PENDING})),
    _K.PROPOSAL_APPROVED: ((_C.APPROVE,), frozenset({_P.APPROVED})),
    _K.PROPOSAL_BREAK_GLASS_REQUESTED: ((_C.BREAK_GLASS,), frozenset({_P.PENDING})),
    _K.PROPOSAL_APPROVED_BY_BREAK_GLASS: ((_C.BREAK_GLASS,), frozenset({_P.APPROVED})),
    _K.PROPOSAL_APPROVAL_WITHDRAWN: ((_C.WITHDRAW_APPROVAL,), None),
    _K.PROPOSAL_NOTICE_ADDED: ((_C.ADD_NOTICE,), None),
    _K.PROPOSAL_RECONSIDERED: ((_C.RECONSIDER,), None),
    _K.PROPOSAL_FACT_RECORDED: ((_C.RECORD_FACT,), None),
    _K.PROPOSAL_RETURNED_TO_REVIEW: ((_C.RETURN_TO_REVIEW,), None),
    _K.PROPOSAL_REJECTED: ((_C.REJECT,), None),
    _K.PROPOSAL_CANCEL_REQUESTED: ((_C.CANCEL,), frozenset({_P.EXECUTING, _P.UNRESOLVED})),
    _K.PROPOSAL_CANCELLED: ((_C.CANCEL, _C.FAIL, _C.EXPIRE_LEASE), frozenset({_P.CANCELLED})),
    _K.PROPOSAL_CLAIMED: ((_C.CLAIM,), None),
    _K.PROPOSAL_LEASE_RENEWED: ((_C.RENEW,), None),
    _K.PROPOSAL_EXECUTED: ((_C.COMPLETE,), None),
    _K.PROPOSAL_RETRIED: ((_C.FAIL, _C.EXPIRE_LEASE), frozenset({_P.APPROVED})),
    _K.PROPOSAL_RETURNED: ((_C.FAIL,), frozenset({_P.APPROVED})),
    _K.PROPOSAL_FAILED: ((_C.FAIL, _C.EXPIRE_LEASE), frozenset({_P.FAILED})),
    _K.PROPOSAL_UNRESOLVED: ((_C.EXPIRE_LEASE,), frozenset({_P.UNRESOLVED})),
    _K.PROPOSAL_RESOLVED: ((_C.RESOLVE,), None),
    _K.PROPOSAL_EXPIRED: ((_C.EXPIRE,), None),
    _K.PROPOSAL_DELETED: ((_C.DELETE,), None),
    _K.PROPOSAL_PURGED: ((_C.DELETE,), None),
}
_FIRST: Mapping[str, frozenset[ProposalState]] = {
    _K.PROPOSAL_CREATED: frozenset({_P.DRAFT, _P.PENDING}),
    _K.PROPOSAL_APPROVED_BY_POLICY: frozenset({_P.APPROVED}),
    _K.PROPOSAL_CANCELLED: frozenset({_P.CANCELLED}),
}
# Kinds of entries that add an approval.
_APPROVALS = frozenset(
    {
        _K.PROPOSAL_APPROVAL_GIVEN,
        _K.PROPOSAL_APPROVED,
        _K.PROPOSAL_BREAK_GLASS_REQUESTED,
        _K.PROPOSAL_APPROVED_BY_BREAK_GLASS,
    }
)
_BREAK_GLASS = frozenset({_K.PROPOSAL_BREAK_GLASS_REQUESTED, _K.PROPOSAL_APPROVED_BY_BREAK_GLASS})
_CONSENTED = frozenset({_P.APPROVED, _P.EXECUTING, _P.EXECUTED, _P.UNRESOLVED})

_PLAN_STEPS: Mapping[str, tuple[tuple[PlanCommand, ...], frozenset[PlanState] | None]] = {
    _K.PLAN_CLAIMED: ((PlanCommand.CLAIM,), None),
    _K.PLAN_LEASE_RENEWED: ((PlanCommand.RENEW,), None),
    _K.PLAN_PLANNED: ((PlanCommand.COMPLETE,), None),
    _K.PLAN_RETURNED: ((PlanCommand.FAIL,), frozenset({PlanState.QUEUED})),
    _K.PLAN_REQUEUED: ((PlanCommand.FAIL, PlanCommand.EXPIRE_LEASE), frozenset({PlanState.QUEUED})),
    _K.PLAN_FAILED: ((PlanCommand.FAIL, PlanCommand.EXPIRE_LEASE), frozenset({PlanState.FAILED})),
    _K.PLAN_CANCELLED: ((PlanCommand.CANCEL,), None),
    _K.PLAN_DELETED: ((PlanCommand.DELETE,), None),
    _K.PLAN_PURGED: ((PlanCommand.DELETE,), None),
}


def proposal_fault(before: ProposalEntry | None, after: ProposalEntry, planner_identity: str) -> str:
    """Why no rule allows `after` to follow `before`; empty when one does.

    before: the entry of the version before; None when there is none or it is not known.
    """
    if not after.args_fit:
        return "its args_digest is not that of its arguments"
    if after.proposal.version == 1:
        return _first_fault(after, planner_identity)
    if after.kind not in _STEPS:
        return f"{after.kind} is no step of a proposal of version {after.proposal.version}"
    fault = "" if before is None else _step_fault(before, after, planner_identity)
    return fault or consent_fault(after.proposal)


def outcomes_of(kind: str, state: ProposalState | None) -> Collection[ProposalState]:
    """The states that an entry of this kind may lead to from this one; None: it is the first entry."""
    if state is None:
        return _FIRST.get(kind, ())
    possible = _outcomes(PROPOSAL_LIFECYCLE, state, _STEPS.get(kind, ((), None)))
    return possible & {state} if kind == _K.PROPOSAL_RECONSIDERED else possible


def consent_fault(proposal: Proposal) -> str:
    """Why a proposal that was executed or may be was never agreed to; empty when it was."""
    if proposal.state not in _CONSENTED or is_broken_glass(proposal.approvals):
        return ""
    decision = proposal.decision
    if decision is not None and decision.effect is Effect.ALLOW and not proposal.approvals:
        return (
            "" if proposal.required_approvals == 0 else "it is marked as approved by policy, and approvals are required"
        )
    if not requirements_of(proposal):
        return f"it is {proposal.state.value} without an approval"
    if proposal.facts_outstanding:
        return f"it is {proposal.state.value} before its facts were there"
    missing = approvals_missing(proposal)
    if missing:
        count, role = missing[0].count, missing[0].role
        return f"it is {proposal.state.value} with {count} approvals{f' of the role {role}' if role else ''} missing"
    return ""


def plan_fault(before: PlanEntry | None, after: PlanEntry) -> str:
    """As proposal_fault, of a plan."""
    if after.version == 1:
        if after.kind != _K.PLAN_CREATED or after.state not in (PlanState.PLANNED, PlanState.QUEUED):
            return f"{after.kind} with state {after.state.value} is no beginning of a plan"
        return ""
    step = _PLAN_STEPS.get(after.kind)
    if step is None:
        return f"{after.kind} is no step of a plan of version {after.version}"
    if before is None:
        return ""
    if after.state not in _outcomes(PLAN_LIFECYCLE, before.state, step):
        return f"{after.kind} does not lead from {before.state.value} to {after.state.value}"
    if after.jobs != before.jobs and after.kind != _K.PLAN_PLANNED:
        return f"its jobs changed, which {after.kind} does not do"
    return ""


def _outcomes(
    lifecycle: Lifecycle[State, Command], state: State, step: tuple[tuple[Command, ...], frozenset[State] | None]
) -> set[State]:
    commands, outcomes = step
    possible = {found for command in commands for found in lifecycle.table[state].get(command, ())}
    return possible if outcomes is None else possible & outcomes


def _first_fault(entry: ProposalEntry, planner_identity: str) -> str:
    proposal = entry.proposal
    if proposal.state not in outcomes_of(entry.kind, None):
        return f"{entry.kind} with state {proposal.state.value} is no beginning of a proposal"
    if proposal.approvals:
        return "it begins with approvals"
    decision = proposal.decision
    decided_by = "" if decision is None else decision.decided_by
    if decided_by and decided_by not in (entry.actor, entry.via):
        return f"it names {decided_by} as the planner that decided, who did not write it"
    if entry.kind == _K.PROPOSAL_APPROVED_BY_POLICY:
        if decision is None or decision.effect is not Effect.ALLOW:
            return "it is marked as approved by policy, and its decision does not allow it"
        if not (entry.via or decided_by or entry.actor == planner_identity):
            return f"it is marked as approved by policy, and {entry.actor}, who wrote it, is no planner"
    elif proposal.state is not _P.CANCELLED and not requirements_of(proposal):
        return "it waits for review and requires no approval"
    return consent_fault(proposal)


def _step_fault(before: ProposalEntry, after: ProposalEntry, planner_identity: str) -> str:
    was, now, kind = before.proposal, after.proposal, after.kind
    if now.state not in outcomes_of(kind, was.state):
        return f"{kind} does not lead from {was.state.value} to {now.state.value}"
    if kind == _K.PROPOSAL_UPDATED:
        return _update_fault(was, now, after, planner_identity)
    returned = kind == _K.PROPOSAL_RETURNED_TO_REVIEW
    decided = returned or kind == _K.PROPOSAL_RECONSIDERED
    for name, unchanged in (
        ("arguments", before.args == after.args and was.args_digest == now.args_digest),
        ("action", was.action_name == now.action_name),
        ("requirements", decided or requirements_of(was) == requirements_of(now)),
        ("decision", decided or was.decision == now.decision),
        ("writers", was.writers == now.writers),
        ("facts", before.facts == after.facts or kind == _K.PROPOSAL_FACT_RECORDED),
    ):
        if not unchanged:
            return f"its {name} changed, which {kind} does not do"
    if decided and was.decision != now.decision:
        decided_by = "" if now.decision is None else now.decision.decided_by
        if not decided_by or decided_by not in (after.actor, after.via):
            return f"{after.actor}, who is no planner, changed its decision"
    if decided and lowered_role(requirements_of(was), requirements_of(now)) is not None:
        return "its review asks for fewer than before"
    if returned:
        if now.approvals:
            return "it went back to review with approvals"
        return "" if requirements_of(now) else "it went back to review and requires no approval"
    if kind in _APPROVALS:
        if before.facts_outstanding and kind not in _BREAK_GLASS:
            return "it was approved before its facts were there"
        return _approval_fault(was, now, after)
    if kind == _K.PROPOSAL_APPROVAL_WITHDRAWN:
        kept = tuple(each for each in was.approvals if each.reviewer != after.actor)
        return "" if now.approvals == kept != was.approvals else "it takes back more or less than the actor's approval"
    return "" if was.approvals == now.approvals else f"its approvals changed, which {kind} does not do"


def _update_fault(was: Proposal, now: Proposal, after: ProposalEntry, planner_identity: str) -> str:
    if now.approvals:
        return "it was edited, and its approvals stayed"
    if was.action_name != now.action_name or was.created_by != now.created_by:
        return "its action or its requester changed"
    if not is_same_person(after.actor, now.writers):
        return f"it was edited by {after.actor}, who is not named as one of its writers"
    if not set(was.writers) <= set(now.writers):
        return "somebody who wrote it is not named as one of its writers any more"
    by_planner = (
        after.via or after.actor == planner_identity or (now.decision and now.decision.decided_by == after.actor)
    )
    if not by_planner and lowered_role(requirements_of(was), requirements_of(now)) is not None:
        return f"{after.actor}, who is no planner, lowered what its review asks for"
    return "" if requirements_of(now) else "it was edited, and requires no approval"


def _approval_fault(was: Proposal, now: Proposal, after: ProposalEntry) -> str:
    if now.approvals[:-1] != was.approvals or not now.approvals:
        return "it adds other than one approval"
    approval = now.approvals[-1]
    if approval.reviewer != after.actor or after.via:
        return f"the approval of {approval.reviewer} was not given by themselves"
    if approval.version != was.version or approval.args_digest != was.args_digest:
        return "the approval is for another version or other arguments"
    if is_same_person(approval.reviewer, was.writers):
        return f"{approval.reviewer} approved their own words"
    if is_same_person(approval.reviewer, (each.reviewer for each in was.approvals)):
        return f"{approval.reviewer} approved twice"
    if approval.break_glass is not (after.kind in _BREAK_GLASS):
        return "its kind and its approval say different things of breaking the glass"
    return ""
