"""When a lease is renewed: by executors of their proposals, by planners of their plans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RenewalSchedule:
    """Renew after a third of the lease. A renewal that gets no answer may be tried again before the lease runs out, and
    so may that one: a lost call, or a server that stood still for a moment, costs no work."""

    lease_seconds: float

    @property
    def after_seconds(self) -> float:
        """From one renewal to the next."""
        return self.lease_seconds / 3

    @property
    def timeout_seconds(self) -> float:
        """Of one renewal."""
        return self.lease_seconds / 4

    @property
    def again_after_seconds(self) -> float:
        """From a failed renewal to the next try."""
        return self.lease_seconds / 20
