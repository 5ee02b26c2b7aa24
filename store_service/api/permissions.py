"""Which roles may call what, in one table. What else decides (self-approval, reviewer roles, leases) is the domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["planner", "reviewer", "executor", "admin"]


class RoleMissing(Exception):
    """The caller has none of the roles that allow the call; `role` is the first of them."""

    def __init__(self, role: str) -> None:
        super().__init__(f"the role {role} is needed")
        self.role = role


@dataclass(frozen=True)
class Permission:
    """`roles`: any one of them allows the call. None: everybody may. `creator_too`: also who made the resource."""

    roles: tuple[Role, ...] | None
    creator_too: bool = False


_EVERYBODY = Permission(None)
_PLANNER = Permission(("planner", "admin"))
_REVIEWER = Permission(("reviewer", "admin"))
_EXECUTOR = Permission(("executor", "admin"))
_CANCELLER = Permission(("reviewer", "admin"), creator_too=True)
_AUTHOR = Permission(("planner", "admin"), creator_too=True)

PERMISSIONS: Mapping[str, Permission] = {
    # PlanService
    "CreatePlan": _PLANNER,
    "GetPlan": _EVERYBODY,
    "ListPlans": _EVERYBODY,
    "CancelPlan": _CANCELLER,
    "DeletePlan": _AUTHOR,
    "ClaimPlans": _PLANNER,
    "RenewPlanLease": _PLANNER,
    "CompletePlanning": _PLANNER,
    "FailPlanning": _PLANNER,
    # ProposalService
    "CreateProposal": _PLANNER,
    "BatchCreateProposals": _PLANNER,
    "GetProposal": _EVERYBODY,
    "BatchGetProposals": _EVERYBODY,
    "ListProposals": _EVERYBODY,
    "CountProposals": _EVERYBODY,
    "UpdateProposal": _PLANNER,
    "SubmitProposal": _AUTHOR,
    "ApproveProposal": _REVIEWER,
    "BatchApproveProposals": _REVIEWER,
    "WithdrawApproval": _REVIEWER,
    "RejectProposal": _REVIEWER,
    "CancelProposal": _CANCELLER,
    "DeleteProposal": _AUTHOR,
    "ClaimProposals": _EXECUTOR,
    "RenewLease": _EXECUTOR,
    "CompleteProposal": _EXECUTOR,
    "FailProposal": _EXECUTOR,
    "ResolveProposal": Permission(("reviewer", "executor", "admin")),
    "BreakGlass": Permission(("admin",)),
    "SetGovernance": Permission(("planner",)),
    "GetGovernance": Permission(("planner",)),
    "ReconsiderProposals": Permission(("planner",)),
    # EventService
    "ListEvents": _EVERYBODY,
    "WatchEvents": _EVERYBODY,
    "VerifyEvents": _EVERYBODY,
    "GetCheckpoint": _EVERYBODY,
    # IdentityService
    "WhoAmI": _EVERYBODY,
}


def authorize(method: str, roles: frozenset[str]) -> bool:
    """Whether the call is allowed for what the caller made only. Raises RoleMissing."""
    if may_call(method, roles):
        return False
    permission = PERMISSIONS[method]
    if permission.creator_too:
        return True
    assert permission.roles is not None, "may_call() is True for everybody then"
    raise RoleMissing(permission.roles[0])


def may_call(method: str, roles: frozenset[str]) -> bool:
    """Whether these roles allow the call, whoever made the resource."""
    allowed = PERMISSIONS[method].roles
    return allowed is None or not roles.isdisjoint(allowed)
