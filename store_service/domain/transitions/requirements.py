"""Whose yes a proposal needs, and what of it is missing."""

from collections.abc import Iterable, Mapping, Sequence

from plangate_core.contract.approval_seats import open_seats
from plangate_core.text.look_alikes import person_key
from store_service.domain.proposal import Approval, ApprovalRequirement, Proposal


def requirements_of(proposal: Proposal) -> tuple[ApprovalRequirement, ...]:
    """Who must approve, by role; empty when none must."""
    return listed(proposal.approval_requirements, proposal.required_approvals, proposal.reviewer_role)


def listed(
    by_role: Sequence[ApprovalRequirement], required_approvals: int, reviewer_role: str
) -> tuple[ApprovalRequirement, ...]:
    """The two ways to say it as one: the list, or so many of one role."""
    if by_role:
        return tuple(by_role)
    return (ApprovalRequirement(reviewer_role, required_approvals),) if required_approvals > 0 else ()


def approvals_missing(proposal: Proposal) -> tuple[ApprovalRequirement, ...]:
    """What the approvals given leave open, in the order of the requirements; empty when all are fulfilled."""
    return missing(requirements_of(proposal), (each for each in proposal.approvals if not each.break_glass))


def missing(
    requirements: Sequence[ApprovalRequirement], approvals: Iterable[Approval]
) -> tuple[ApprovalRequirement, ...]:
    """What these approvals leave open. Each person counts once, and for one requirement only."""
    left = open_seats(
        [(requirement.role, requirement.count) for requirement in requirements],
        ((approval.reviewer, approval.roles) for approval in approvals),
    )
    return tuple(ApprovalRequirement(role, count) for role, count in left.items())


def raised(
    before: Sequence[ApprovalRequirement], after: Sequence[ApprovalRequirement]
) -> tuple[ApprovalRequirement, ...]:
    """The stricter of both: per role the higher count; approvals of any role fill up to the larger total."""
    old, new = by_role(before), by_role(after)
    counts = {role: max(old.get(role, 0), new.get(role, 0)) for role in sorted(old.keys() | new.keys()) if role}
    anybody = max(sum(old.values()), sum(new.values())) - sum(counts.values())
    if anybody > 0:
        counts[""] = anybody
    return tuple(ApprovalRequirement(role, count) for role, count in counts.items())


def lowered_role(before: Sequence[ApprovalRequirement], after: Sequence[ApprovalRequirement]) -> str | None:
    """A role of which fewer would be required than before ("" when it is fewer people altogether); None when nothing is
    lowered."""
    now = by_role(after)
    for role, count in by_role(before).items():
        if role and now.get(role, 0) < count:
            return role
    return "" if sum(now.values()) < sum(by_role(before).values()) else None


def by_role(requirements: Iterable[ApprovalRequirement]) -> Mapping[str, int]:
    """How many of each role."""
    counts: dict[str, int] = {}
    for requirement in requirements:
        counts[requirement.role] = counts.get(requirement.role, 0) + requirement.count
    return counts


def is_broken_glass(approvals: Iterable[Approval]) -> bool:
    """Whether two admins overrode the review."""
    return len({person_key(approval.reviewer) for approval in approvals if approval.break_glass}) >= 2


def is_same_person(identity: str, others: Iterable[str]) -> bool:
    """Whether the identity is one of the others, or looks like one."""
    key = person_key(identity)
    return any(key == person_key(other) for other in others if other)
