"""What policy can say of one job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from plangate_core.catalogue.effect import Effect


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one job, by which rule, and why.

    `required_approvals` is at least 1 where the effect is REQUIRE_APPROVAL, else 0. An empty `reviewer_role` means any
    reviewer. `approval_ttl` of None leaves the expiry to the store.
    """

    effect: Effect
    rule: str
    reason: str
    required_approvals: int = 0
    reviewer_role: str = ""
    approval_ttl: timedelta | None = None
