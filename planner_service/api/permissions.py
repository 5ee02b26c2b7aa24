"""Which roles may call which RPC of the planner, in one table."""

from __future__ import annotations

from collections.abc import Mapping

from planner_service.errors import RoleMissing

PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "CreatePlan": (),
    "StreamPlan": (),
    "EnqueuePlan": (),
    "EvaluatePlan": (),
    "SubmitPlan": (),
    # Or the proposal's creator.
    "ReviseProposal": ("reviewer", "admin"),
    "ListActions": (),
    "GetAction": (),
    "SimulatePolicy": ("reviewer", "admin"),
}
"""Any one of the roles allows the call; where there are none, any identity may."""


def missing_role(method: str, roles: frozenset[str]) -> RoleMissing | None:
    """What to refuse the call with; None when the roles allow it."""
    wanted = PERMISSIONS[method]
    return RoleMissing(wanted) if wanted and roles.isdisjoint(wanted) else None
