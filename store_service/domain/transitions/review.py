"""A proposal from draft to decision: how it is made, submitted, edited, approved, refused, cancelled, hidden.

Every function takes the proposal as it is and returns the next version with the kind of event that says so.
"""

from dataclasses import replace

from plangate_core.contract.limits import MAX_NOTICES
from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.errors import (
    AlreadyApproved,
    ArgsDigestMismatch,
    FactsOutstanding,
    InvalidField,
    ModelApproval,
    NotApprovedByCaller,
    PolicyDenied,
    RequirementLowered,
    ReviewerRoleMissing,
    SelfApproval,
)
from store_service.domain.events import EventKind
from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.lifecycle import PROPOSAL_LIFECYCLE, ProposalCommand
from store_service.domain.proposal import (
    IN_WORK_STATES,
    Approval,
    Decision,
    Effect,
    Notice,
    Proposal,
    ProposalDraft,
    ProposalState,
)
from store_service.domain.rules import Rules
from store_service.domain.transitions.requirements import (
    approvals_missing,
    is_broken_glass,
    is_same_person,
    listed,
    lowered_role,
    raised,
    requirements_of,
)


def attributed(decision: Decision, actor: Actor, rules: Rules) -> Decision:
    """The decision with the name of the planner that made it. Without a planner's decision people must approve."""
    planner = rules.decides_for_policy(actor)
    if planner or decision.effect is Effect.DENY:
        return replace(decision, decided_by=planner)
    return replace(
        decision,
        effect=Effect.REQUIRE_APPROVAL,
        rule="",
        reason=f"written by {actor.identity}: policy did not decide",
        required_approvals=max(1, decision.required_approvals),
        governance_digest="",
        time_dependent=False,
        decided_by="",
    )


def create(
    proposal_id: str,
    draft: ProposalDraft,
    actor: Actor,
    now: Instant,
    rules: Rules,
    *,
    submit: bool,
    waiting_for: int,
    notices: tuple[Notice, ...] = (),
) -> tuple[Proposal, EventKind]:
    """A proposal that belongs to no plan, as DRAFT or PENDING. `waiting_for`: dependencies not EXECUTED yet."""
    if draft.expire_time is not None and draft.expire_time <= now:
        raise InvalidField("proposal.expire_time", "must be in the future")
    decision = draft.decision
    if decision is not None or not rules.decides_for_policy(actor):
        decision = attributed(decision or Decision(Effect.REQUIRE_APPROVAL), actor, rules)
    proposal = Proposal.of(**vars(draft)).evolve(
        id=proposal_id,
        created_by=actor.identity,
        updated_by=actor.identity,
        create_time=now,
        update_time=now,
        args_digest=args_digest(draft.args_json),
        state=ProposalState.PENDING if submit else ProposalState.DRAFT,
        decision=decision,
        required_approvals=max(1, draft.required_approvals, decision.required_approvals if decision else 0),
        reviewer_role=draft.reviewer_role or (decision.reviewer_role if decision else ""),
        max_attempts=draft.max_attempts or 1,
        waiting_for=waiting_for,
        expire_time=rules.expire_time(draft.decision, now) if draft.expire_time is None else draft.expire_time,
        submit_time=now if submit else None,
        notices=notices,
        # Only proposals of plans, and edited ones, have them.
        facts=(),
    )
    return proposal, EventKind.PROPOSAL_CREATED


def submit(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """Up for review."""
    _require(proposal, ProposalCommand.SUBMIT, now)
    submitted = proposal.changed(actor, now, state=ProposalState.PENDING, submit_time=now)
    return submitted, EventKind.PROPOSAL_SUBMITTED


def update(
    proposal: Proposal,
    draft: ProposalDraft,
    fields: frozenset[str],
    actor: Actor,
    now: Instant,
    rules: Rules,
    *,
    waiting_for: int | None = None,
    notices: tuple[Notice, ...] = (),
) -> tuple[Proposal, EventKind]:
    """With the named fields of `draft`, and without approvals. It needs at least one approval from now on.

    `waiting_for`: dependencies that have not ended, when those are changed; `notices`: to be added. Facts about other
    arguments are left out; new ones are the caller's to add.

    Only the planner decides for policy: of others `decision` is not taken, what they write is not decided any more, and
    they may raise what the review asks for, never lower it. Nor may a planner that neither decided nor is the one of
    the settings. Raises RequirementLowered.
    """
    _require(proposal, ProposalCommand.UPDATE, now)
    changes: dict[str, object] = {name: getattr(draft, name) for name in fields if name not in ("action_args", "facts")}
    if "action_args" in fields:
        changes["args_json"] = draft.args_json
        changes["args_digest"] = args_digest(draft.args_json)
        # They are about other arguments.
        changes["facts"] = ()
    if "required_approvals" in fields:
        changes["required_approvals"] = max(1, draft.required_approvals)
    if "max_attempts" in fields:
        changes["max_attempts"] = max(1, draft.max_attempts)
    if waiting_for is not None:
        changes["waiting_for"] = waiting_for
    if notices:
        changes["notices"] = (*proposal.notices, *notices)[-MAX_NOTICES:]
    if "expire_time" in fields and draft.expire_time is not None and draft.expire_time <= now:
        raise InvalidField("proposal.expire_time", "must be in the future")
    if rules.decides_for_policy(actor):
        if draft.decision is not None and "decision" in fields:
            changes["decision"] = attributed(draft.decision, actor, rules)
            required = draft.required_approvals if "required_approvals" in fields else proposal.required_approvals
            changes["required_approvals"] = max(1, required, draft.decision.required_approvals)
    else:
        changes.pop("decision", None)
        if "action_args" in fields:
            changes["decision"] = attributed(proposal.decision or Decision(Effect.REQUIRE_APPROVAL), actor, rules)
    if not is_same_person(actor.identity, (proposal.revised_by,)):
        # However many words were added to somebody's own, they are not another's.
        before = dict.fromkeys((*proposal.earlier_revisers, proposal.revised_by))
        changes["revised_by"] = actor.identity
        changes["earlier_revisers"] = tuple(who for who in before if who and who != actor.identity)
    changed = proposal.changed(actor, now, approvals=(), **changes)
    decided_by = "" if changed.decision is None else changed.decision.decided_by
    # What checks of the log can see of it: they do not know the actor's roles.
    if not actor.via and actor.identity not in (rules.planner_identity, decided_by):
        lowered = lowered_role(requirements_of(proposal), requirements_of(changed))
        if lowered is not None:
            raise RequirementLowered(lowered)
    return changed, EventKind.PROPOSAL_UPDATED


def approve(
    proposal: Proposal, actor: Actor, now: Instant, rules: Rules, *, expected_args_digest: str, comment: str
) -> tuple[Proposal, EventKind]:
    """With the actor's yes to this version; APPROVED when that was the last one needed."""
    _require(proposal, ProposalCommand.APPROVE, now)
    _require_reviewer(proposal, actor, rules, expected_args_digest)
    _require_reviewer_role(proposal, actor)
    if outstanding := proposal.facts_outstanding:
        raise FactsOutstanding([fact.action_name for fact in outstanding])
    required = {requirement.role for requirement in requirements_of(proposal) if requirement.role}
    approval = Approval(
        reviewer=actor.identity,
        version=proposal.version,
        args_digest=proposal.args_digest,
        comment=comment,
        create_time=now,
        roles=tuple(sorted(required & actor.roles)),
    )
    before = approvals_missing(proposal)
    approved = proposal.changed(actor, now, approvals=(*proposal.approvals, approval))
    still = approvals_missing(approved)
    if not still:
        return approved.evolve(state=ProposalState.APPROVED, review_time=now), EventKind.PROPOSAL_APPROVED
    if still == before:
        # All of the roles that the actor has are there already.
        raise ReviewerRoleMissing(still[0].role)
    return approved, EventKind.PROPOSAL_APPROVAL_GIVEN


def break_glass(
    proposal: Proposal, actor: Actor, now: Instant, rules: Rules, *, expected_args_digest: str, reason: str
) -> tuple[Proposal, EventKind]:
    """With one admin's part in overriding the review of this version; APPROVED with the second one's."""
    _require(proposal, ProposalCommand.BREAK_GLASS, now)
    _require_reviewer(proposal, actor, rules, expected_args_digest)
    approval = Approval(
        reviewer=actor.identity,
        version=proposal.version,
        args_digest=proposal.args_digest,
        comment=reason,
        create_time=now,
        break_glass=True,
    )
    given = proposal.changed(actor, now, approvals=(*proposal.approvals, approval))
    if not is_broken_glass(given.approvals):
        return given, EventKind.PROPOSAL_BREAK_GLASS_REQUESTED
    overridden = given.evolve(state=ProposalState.APPROVED, review_time=now)
    return overridden, EventKind.PROPOSAL_APPROVED_BY_BREAK_GLASS


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
    rejected = proposal.changed(
        actor, now, state=ProposalState.REJECTED, failure=failure, review_time=now, end_time=now
    )
    return rejected, EventKind.PROPOSAL_REJECTED


def cancel(proposal: Proposal, actor: Actor, now: Instant, failure: Failure) -> tuple[Proposal, EventKind]:
    """CANCELLED; while an executor runs it, or may have done so, only requested to stop."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.CANCEL)
    if proposal.state in IN_WORK_STATES:
        return proposal.changed(actor, now, cancel_requested=True), EventKind.PROPOSAL_CANCEL_REQUESTED
    cancelled = proposal.changed(actor, now, state=ProposalState.CANCELLED, failure=failure, end_time=now)
    return cancelled, EventKind.PROPOSAL_CANCELLED


def add_notice(proposal: Proposal, notice: Notice, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """With something more that its reviewers should know. Its approvals stay."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.ADD_NOTICE)
    noted = proposal.changed(actor, now, notices=(*proposal.notices, notice)[-MAX_NOTICES:])
    return noted, EventKind.PROPOSAL_NOTICE_ADDED


def return_to_review(proposal: Proposal, notice: Notice, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """PENDING again, and in need of at least one approval: it was approved, and a person must look at it once more."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.RETURN_TO_REVIEW)
    returned = proposal.changed(
        actor,
        now,
        state=ProposalState.PENDING,
        required_approvals=max(1, proposal.required_approvals),
        approvals=(),
        earlier_approvals=(*proposal.earlier_approvals, *proposal.approvals)[-MAX_NOTICES:],
        notices=(*proposal.notices, notice)[-MAX_NOTICES:],
        review_time=None,
    )
    return returned, EventKind.PROPOSAL_RETURNED_TO_REVIEW


def reconsider(
    proposal: Proposal, decision: Decision, actor: Actor, now: Instant, rules: Rules, *, reason: str
) -> tuple[Proposal, EventKind]:
    """With what policy decides now, and asking for no less than before. PENDING again when it was APPROVED and its
    approvals do not suffice, or policy denies it."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.RECONSIDER)
    decision = attributed(decision, actor, rules)
    required = raised(
        requirements_of(proposal),
        listed(decision.approval_requirements, decision.required_approvals, decision.reviewer_role),
    )
    several = len(required) > 1
    decided = proposal.evolve(
        decision=replace(decision, approval_requirements=required if several else ()),
        required_approvals=sum(each.count for each in required),
        reviewer_role="" if several or not required else required[0].role,
    )
    denied = decision.effect is Effect.DENY
    if proposal.state is ProposalState.APPROVED:
        allowed = decision.effect is Effect.ALLOW and not required
        agreed = is_broken_glass(decided.approvals) or (bool(required) and not approvals_missing(decided))
        if denied or not (allowed or agreed):
            why = reason or decision.reason or "policy decides otherwise now"
            return return_to_review(decided, Notice("BACK_TO_REVIEW", why, now), actor, now)
    return decided.changed(actor, now), EventKind.PROPOSAL_RECONSIDERED


def expire(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """EXPIRED: it waited too long."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.EXPIRE)
    failure = Failure("EXPIRED", "it waited longer than it may")
    expired = proposal.changed(actor, now, state=ProposalState.EXPIRED, failure=failure, end_time=now)
    return expired, EventKind.PROPOSAL_EXPIRED


def delete(proposal: Proposal, actor: Actor, now: Instant, *, purge: bool) -> tuple[Proposal, EventKind]:
    """Hidden, or ready to be removed for good."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.DELETE)
    kind = EventKind.PROPOSAL_PURGED if purge else EventKind.PROPOSAL_DELETED
    return proposal.changed(actor, now, delete_time=proposal.delete_time or now), kind


def _require(proposal: Proposal, command: ProposalCommand, now: Instant) -> None:
    """Raises IllegalTransition, also for what waited too long and which the sweeper has not come to yet."""
    state = ProposalState.EXPIRED if proposal.has_expired(now) else proposal.state
    PROPOSAL_LIFECYCLE.require(state, command)


def _require_reviewer(proposal: Proposal, actor: Actor, rules: Rules, expected_args_digest: str) -> None:
    """Raises ModelApproval, PolicyDenied, SelfApproval, AlreadyApproved, ArgsDigestMismatch."""
    if rules.acts_for_a_model(actor):
        raise ModelApproval(actor.via or actor.identity)
    if proposal.decision is not None and proposal.decision.effect is Effect.DENY:
        raise PolicyDenied(proposal.decision.rule)
    if is_same_person(actor.identity, proposal.writers):
        raise SelfApproval(actor.identity)
    if expected_args_digest and expected_args_digest != proposal.args_digest:
        raise ArgsDigestMismatch(proposal.args_digest)
    if is_same_person(actor.identity, (approval.reviewer for approval in proposal.approvals)):
        raise AlreadyApproved(actor.identity)


def _require_reviewer_role(proposal: Proposal, actor: Actor) -> None:
    """Raises ReviewerRoleMissing for who has none of the roles that the review asks for."""
    required = [requirement.role for requirement in requirements_of(proposal)]
    if required and not any(not role or role in actor.roles for role in required):
        raise ReviewerRoleMissing(required[0])
