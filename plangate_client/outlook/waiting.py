"""Which proposals wait for one person, and why one that waits is not theirs to decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from plangate.store.v1 import proposal_pb2


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who is asked: identity and roles as IdentityService.WhoAmI returns them."""

    identity: str
    roles: frozenset[str]

    @property
    def reviews(self) -> bool:
        """Whether the caller may approve and reject at all."""
        return not self.roles.isdisjoint({"reviewer", "admin"})


def waiting_filter(reviewer: Reviewer) -> str:
    """A filter for ListProposals and CountProposals: PENDING, not the reviewer's own request, one of their roles.

    What the filter language cannot say (edited by them, approved by them already) is `why_not_mine`'s to find.
    """
    roles = ["", *sorted(reviewer.roles)]
    wanted = " OR ".join(f"reviewer_role = {_quoted(role)}" for role in roles)
    return f"state = PENDING AND created_by != {_quoted(reviewer.identity)} AND ({wanted})"


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
    if proposal.reviewer_role and proposal.reviewer_role not in reviewer.roles:
        return f"You do not have the role {proposal.reviewer_role}."
    if has_approved(proposal, reviewer.identity):
        return "You approved it already."
    return ""


def may_reject(proposal: proposal_pb2.Proposal, reviewer: Reviewer, now: datetime) -> bool:
    """Whether this person can reject it now. Unlike an approval, a no may come from its requester or editor."""
    return (
        proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING
        and not has_expired(proposal, now)
        and reviewer.reviews
        and (not proposal.reviewer_role or proposal.reviewer_role in reviewer.roles)
    )


def has_approved(proposal: proposal_pb2.Proposal, identity: str) -> bool:
    """Whether this identity's yes is among those given so far."""
    return any(approval.reviewer == identity for approval in proposal.approvals)


def approvals_missing(proposal: proposal_pb2.Proposal) -> int:
    """How many more approvals it needs."""
    return max(0, proposal.required_approvals - len(proposal.approvals))


def has_expired(proposal: proposal_pb2.Proposal, now: datetime) -> bool:
    """Whether it waited longer than it may, also when the store has not noticed yet. `now` is aware of its zone."""
    return proposal.HasField("expire_time") and proposal.expire_time.ToDatetime(tzinfo=UTC) <= now


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
