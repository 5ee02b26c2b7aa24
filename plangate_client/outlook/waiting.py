"""Whether a proposal waits for one person, and why one that waits is not theirs to decide.

ListProposals finds all of them by the filter `waiting_for_me = true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.facts import facts_outstanding


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A caller: identity and roles as IdentityService.WhoAmI returns them."""

    identity: str
    roles: frozenset[str]

    @property
    def reviews(self) -> bool:
        """Whether the caller may approve and reject at all."""
        return not self.roles.isdisjoint({"reviewer", "admin"})


def why_not_mine(proposal: proposal_pb2.Proposal, reviewer: Reviewer, now: datetime) -> str:
    """Why this person cannot approve this proposal now, as one sentence; empty when they can.

    The server decides; this says beforehand what it would answer. It follows the server's own order of checks.
    """
    if proposal.state != proposal_pb2.PROPOSAL_STATE_PENDING:
        return "It is not waiting for approval."
    if has_expired(proposal, now):
        return "It expired."
    if not reviewer.reviews:
        return "You do not have the role reviewer."
    if reviewer.identity == proposal.created_by:
        return "You requested it."
    if reviewer.identity == proposal.revised_by or reviewer.identity in proposal.earlier_revisers:
        return "You edited it."
    if reason := _role_lacking(proposal, reviewer):
        return reason
    if has_approved(proposal, reviewer.identity):
        return "You approved it already."
    if outstanding := facts_outstanding(proposal):
        return f"What {' and '.join(dict.fromkeys(outstanding))} says is being fetched for you first."
    return ""


def may_reject(proposal: proposal_pb2.Proposal, reviewer: Reviewer, now: datetime) -> bool:
    """Whether this person can reject it now. Unlike an approval, a no may come from its requester or editor."""
    return (
        proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING
        and not has_expired(proposal, now)
        and reviewer.reviews
        and not _role_lacking(proposal, reviewer)
    )


def why_mine(proposal: proposal_pb2.Proposal, reviewer: Reviewer) -> str:
    """Why it is asked of this person, as one sentence; empty when they have none of the roles that are asked for."""
    wanted = [entry.role for entry in approvals_missing(proposal) or requirements(proposal)]
    role = next((role for role in wanted if role and role in reviewer.roles), "")
    if role:
        return f"It is asked of you because you have the role {role}."
    if reviewer.reviews and "" in wanted:
        return "It is asked of everybody with the role reviewer, so of you too."
    return ""


def may_break_glass(proposal: proposal_pb2.Proposal, reviewer: Reviewer, now: datetime) -> bool:
    """Whether this person can be one of the two admins who have it executed without its review."""
    return (
        proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING
        and not has_expired(proposal, now)
        and "admin" in reviewer.roles
        and reviewer.identity not in (proposal.created_by, proposal.revised_by, *proposal.earlier_revisers)
        and not has_approved(proposal, reviewer.identity)
    )


def has_approved(proposal: proposal_pb2.Proposal, identity: str) -> bool:
    """Whether this identity's yes is among those given so far."""
    return any(approval.reviewer == identity for approval in proposal.approvals)


def requirements(proposal: proposal_pb2.Proposal) -> list[plan_pb2.ApprovalRequirement]:
    """Who must approve, by role; one entry where a single role is required."""
    if proposal.approval_requirements:
        return [*proposal.approval_requirements]
    return [plan_pb2.ApprovalRequirement(role=proposal.reviewer_role, count=proposal.required_approvals)]


def approvals_missing(proposal: proposal_pb2.Proposal) -> list[plan_pb2.ApprovalRequirement]:
    """The approvals that it still needs, by role."""
    if proposal.approvals_missing or proposal.approval_requirements:
        return [*proposal.approvals_missing]
    count = max(0, proposal.required_approvals - len(proposal.approvals))
    return [plan_pb2.ApprovalRequirement(role=proposal.reviewer_role, count=count)] if count else []


def approvals_text(wanted: Sequence[plan_pb2.ApprovalRequirement], noun: str = "approval") -> str:
    """2 approvals by finance and 1 approval by legal."""
    parts = [
        f"{entry.count} {noun}{'' if entry.count == 1 else 's'}{f' by {entry.role}' if entry.role else ''}"
        for entry in wanted
    ]
    return " and ".join(parts)


def has_expired(proposal: proposal_pb2.Proposal, now: datetime) -> bool:
    """Whether it waited longer than it may, also when the store has not noticed yet. `now` is aware of its zone."""
    return proposal.HasField("expire_time") and proposal.expire_time.ToDatetime(tzinfo=UTC) <= now


def _role_lacking(proposal: proposal_pb2.Proposal, reviewer: Reviewer) -> str:
    """Which role would be needed, as one sentence; empty when the reviewer has one of them."""
    wanted = [entry.role for entry in requirements(proposal)]
    if any(not role or role in reviewer.roles for role in wanted):
        return ""
    return f"You do not have the role {' or '.join(wanted)}."
