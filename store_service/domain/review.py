"""A proposal from draft to decision: how it is made, submitted, edited, approved, refused, cancelled, hidden.

Every function takes the proposal as it is and returns the next version with the kind of event that says so.
"""

from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.errors import (
    AlreadyApproved,
    ArgsDigestMismatch,
    InvalidField,
    ModelApproval,
    NotApprovedByCaller,
    ReviewerRoleMissing,
    SelfApproval,
)
from store_service.domain.events import EventKind
from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.lifecycle import PROPOSAL_LIFECYCLE, ProposalCommand
from store_service.domain.proposal import Approval, Proposal, ProposalDraft, ProposalState
from store_service.domain.rules import Rules


def create(
    proposal_id: str, draft: ProposalDraft, actor: Actor, now: Instant, rules: Rules, *, submit: bool, waiting_for: int
) -> tuple[Proposal, EventKind]:
    """A proposal that belongs to no plan, as DRAFT or PENDING. `waiting_for`: dependencies not EXECUTED yet."""
    expire_time = draft.expire_time
    if expire_time is None:
        ttl = draft.decision.approval_ttl if draft.decision else None
        ttl = rules.approval_ttl if ttl is None else ttl
        expire_time = None if ttl is None else now + ttl
    elif expire_time <= now:
        raise InvalidField("proposal.expire_time", "must be in the future")
    proposal = Proposal.of(
        id=proposal_id,
        created_by=actor.identity,
        updated_by=actor.identity,
        create_time=now,
        update_time=now,
        action_name=draft.action_name,
        args_json=draft.args_json,
        args_digest=args_digest(draft.args_json),
        description=draft.description,
        evidence=draft.evidence,
        priority=draft.priority,
        labels=draft.labels,
        state=ProposalState.PENDING if submit else ProposalState.DRAFT,
        decision=draft.decision,
        required_approvals=draft.required_approvals or 1,
        reviewer_role=draft.reviewer_role,
        max_attempts=draft.max_attempts or 1,
        depends_on=draft.depends_on,
        waiting_for=waiting_for,
        expire_time=expire_time,
        submit_time=now if submit else None,
    )
    return proposal, EventKind.PROPOSAL_CREATED


def submit(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """Up for review."""
    _require(proposal, ProposalCommand.SUBMIT, now)
    return (
        proposal.changed(actor, now, state=ProposalState.PENDING, submit_time=now),
        EventKind.PROPOSAL_SUBMITTED,
    )


def update(
    proposal: Proposal, draft: ProposalDraft, fields: frozenset[str], actor: Actor, now: Instant
) -> tuple[Proposal, EventKind]:
    """With the named fields of `draft`, and without approvals. It needs at least one approval from now on."""
    _require(proposal, ProposalCommand.UPDATE, now)
    changes: dict[str, object] = {name: getattr(draft, name) for name in fields if name != "action_args"}
    if "action_args" in fields:
        changes["args_json"] = draft.args_json
        changes["args_digest"] = args_digest(draft.args_json)
    if "required_approvals" in fields:
        changes["required_approvals"] = max(1, draft.required_approvals)
    if "max_attempts" in fields:
        changes["max_attempts"] = max(1, draft.max_attempts)
    if "expire_time" in fields and draft.expire_time is not None and draft.expire_time <= now:
        raise InvalidField("proposal.expire_time", "must be in the future")
    if actor.identity != proposal.revised_by:
        # However many words were added to somebody's own, they are not another's.
        before = dict.fromkeys((*proposal.earlier_revisers, proposal.revised_by))
        changes["revised_by"] = actor.identity
        changes["earlier_revisers"] = tuple(who for who in before if who and who != actor.identity)
    return proposal.changed(actor, now, approvals=(), **changes), EventKind.PROPOSAL_UPDATED


def approve(
    proposal: Proposal, actor: Actor, now: Instant, rules: Rules, *, expected_args_digest: str, comment: str
) -> tuple[Proposal, EventKind]:
    """With the actor's yes to this version; APPROVED when that was the last one needed."""
    _require(proposal, ProposalCommand.APPROVE, now)
    reviewer = actor.identity
    if rules.acts_for_a_model(actor):
        raise ModelApproval(actor.via or reviewer)
    if reviewer in (proposal.created_by, proposal.revised_by, *proposal.earlier_revisers):
        raise SelfApproval(reviewer)
    _require_reviewer_role(proposal, actor)
    if expected_args_digest and expected_args_digest != proposal.args_digest:
        raise ArgsDigestMismatch(proposal.args_digest)
    if any(approval.reviewer == reviewer for approval in proposal.approvals):
        raise AlreadyApproved(reviewer)
    approvals = (*proposal.approvals, Approval(reviewer, proposal.version, proposal.args_digest, comment, now))
    if len(approvals) < proposal.required_approvals:
        return proposal.changed(actor, now, approvals=approvals), EventKind.PROPOSAL_APPROVAL_GIVEN
    return (
        proposal.changed(actor, now, approvals=approvals, state=ProposalState.APPROVED, review_time=now),
        EventKind.PROPOSAL_APPROVED,
    )


def withdraw_approval(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """Without the actor's own approval."""
    _require(proposal, ProposalCommand.WITHDRAW_APPROVAL, now)
    kept = tuple(approval for approval in proposal.approvals if approval.reviewer != actor.identity)
    if len(kept) == len(proposal.approvals):
        raise NotApprovedByCaller(actor.identity)
    return proposal.changed(actor, now, approvals=kept), EventKind.PROPOSAL_APPROVAL_WITHDRAWN


def reject(proposal: Proposal, actor: Actor, now: Instant, *, reason: str) -> tuple[Proposal, EventKind]:
    """REJECTED, for good."""
    _require(proposal, ProposalCommand.REJECT, now)
    _require_reviewer_role(proposal, actor)
    failure = Failure("REJECTED", reason)
    return (
        proposal.changed(actor, now, state=ProposalState.REJECTED, failure=failure, review_time=now, end_time=now),
        EventKind.PROPOSAL_REJECTED,
    )


def cancel(proposal: Proposal, actor: Actor, now: Instant, failure: Failure) -> tuple[Proposal, EventKind]:
    """CANCELLED; while an executor runs it, only asked to stop."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.CANCEL)
    if proposal.state is ProposalState.EXECUTING:
        return proposal.changed(actor, now, cancel_requested=True), EventKind.PROPOSAL_CANCEL_REQUESTED
    return (
        proposal.changed(actor, now, state=ProposalState.CANCELLED, failure=failure, end_time=now),
        EventKind.PROPOSAL_CANCELLED,
    )


def expire(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """EXPIRED: it waited too long."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.EXPIRE)
    failure = Failure("EXPIRED", "it waited longer than it may")
    return (
        proposal.changed(actor, now, state=ProposalState.EXPIRED, failure=failure, end_time=now),
        EventKind.PROPOSAL_EXPIRED,
    )


def delete(proposal: Proposal, actor: Actor, now: Instant, *, purge: bool) -> tuple[Proposal, EventKind]:
    """Hidden, or ready to be removed for good."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.DELETE)
    kind = EventKind.PROPOSAL_PURGED if purge else EventKind.PROPOSAL_DELETED
    return proposal.changed(actor, now, delete_time=proposal.delete_time or now), kind


def _require(proposal: Proposal, command: ProposalCommand, now: Instant) -> None:
    """Raises IllegalTransition, also for what waited too long and which the sweeper has not come to yet."""
    state = ProposalState.EXPIRED if proposal.has_expired(now) else proposal.state
    PROPOSAL_LIFECYCLE.require(state, command)


def _require_reviewer_role(proposal: Proposal, actor: Actor) -> None:
    if proposal.reviewer_role and proposal.reviewer_role not in actor.roles:
        raise ReviewerRoleMissing(proposal.reviewer_role)
