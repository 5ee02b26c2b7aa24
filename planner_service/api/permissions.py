"""Which roles may call which RPC of the planner, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planner_service.errors import RoleMissing


@dataclass(frozen=True, slots=True)
class Permission:
    """`roles`: any one of them allows the call; empty: any identity. `creator_too`: also the resource's creator."""

    roles: tuple[str, ...] = ()
    creator_too: bool = False


_ANYBODY = Permission()
_REVIEWER = Permission(("reviewer", "admin"))

PERMISSIONS: Mapping[str, Permission] = {
    "CreatePlan": _ANYBODY,
    "StreamPlan": _ANYBODY,
    "EnqueuePlan": _ANYBODY,
    "EvaluatePlan": _ANYBODY,
    "SubmitPlan": _ANYBODY,
    "ReviseProposal": Permission(("reviewer", "admin"), creator_too=True),
    "ListActions": _ANYBODY,
    "GetAction": _ANYBODY,
    "SimulatePolicy": _REVIEWER,
}


def authorize(method: str, roles: frozenset[str]) -> RoleMissing | None:
    """None when the roles allow the call; the error to raise for anybody but the resource's creator where the call is
    allowed to that one. Raises RoleMissing."""
    permission = PERMISSIONS[method]
    if not permission.roles or not roles.isdisjoint(permission.roles):
        return None
    missing = RoleMissing(permission.roles)
    if permission.creator_too:
        return missing
    raise missing
