"""Whether those whose approvals count still have the roles that they gave them with."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from store_service.domain.proposal import Approval, Proposal
from store_service.domain.transitions.requirements import approvals_missing, is_broken_glass, requirements_of

RolesOf: TypeAlias = Callable[[str], frozenset[str] | None]
"""The roles that an identity has now; None where credentials do not say."""

_MAY_APPROVE = ("reviewer", "admin")
_MAY_BREAK_GLASS = ("admin",)


def lost_consent(proposal: Proposal, roles_of: RolesOf) -> str:
    """Why a proposal is not approved any more, as reviewers have lost roles; empty when it is."""
    kept: list[Approval] = []
    lost: list[str] = []
    for approval in proposal.approvals:
        held = roles_of(approval.reviewer)
        if held is None:
            kept.append(approval)
            continue
        may = _MAY_BREAK_GLASS if approval.break_glass else _MAY_APPROVE
        gone = () if held.intersection(may) else may[:1]
        gone = (*gone, *(role for role in approval.roles if role not in held))
        if gone:
            lost.append(f"{approval.reviewer} does not have the role {gone[0]} any more")
        still = tuple(role for role in approval.roles if role in held)
        if held.intersection(may) and (still or not approval.roles):
            kept.append(replace(approval, roles=still))
    remaining = proposal.evolve(approvals=tuple(kept))
    if not lost or is_broken_glass(kept) or (requirements_of(remaining) and not approvals_missing(remaining)):
        return ""
    return "; ".join(lost)
