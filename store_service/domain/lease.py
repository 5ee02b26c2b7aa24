"""A time-limited right to work on one thing, for plans in the queue and for approved proposals alike."""

from dataclasses import dataclass, field
from typing import Any, Self

from store_service.domain.actor import Actor
from store_service.domain.entity import Entity
from store_service.domain.errors import LeaseLost
from store_service.domain.instant import Instant, Micros


@dataclass(frozen=True, slots=True)
class Lease:
    """`attempt` is the fencing token: every write under the lease must carry it."""

    worker: str
    attempt: int
    expire_time: Instant


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something ended without its result. `reason` is UPPER_SNAKE_CASE, for programs; `message` for people."""

    reason: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Leased(Entity):
    """An entity that one worker at a time may work on, in a bounded number of attempts."""

    lease: Lease | None = None
    # Attempts begun so far.
    attempt: int = 0
    max_attempts: int = 1
    # Attempts that were given back: they do not count.
    returned_attempts: int = 0
    # Not claimed before this time.
    not_before_time: Instant | None = None
    failure: Failure | None = field(default=None)

    @property
    def attempts_left(self) -> bool:
        return self.attempt - self.returned_attempts < self.max_attempts

    def is_due(self, now: Instant) -> bool:
        """Whether the time to be claimed again has come."""
        return self.not_before_time is None or self.not_before_time <= now

    def lease_ran_out(self, now: Instant) -> bool:
        return self.lease is not None and self.lease.expire_time <= now

    def leased_to(self, worker: Actor, now: Instant, duration: Micros, **changes: Any) -> Self:
        """The next version, with a new lease and the next attempt."""
        attempt = self.attempt + 1
        lease = Lease(worker.identity, attempt, now + duration)
        return self.changed(worker, now, lease=lease, attempt=attempt, not_before_time=None, failure=None, **changes)

    def renewed(self, worker: Actor, attempt: int, now: Instant, duration: Micros) -> Self:
        """The next version, with the lease prolonged from now on. Raises LeaseLost."""
        lease = self.held(worker, attempt)
        return self.changed(worker, now, lease=Lease(lease.worker, lease.attempt, now + duration))

    def held(self, worker: Actor, attempt: int) -> Lease:
        """The lease, if this worker holds it with this token. Raises LeaseLost.

        A lease that ran out but was not taken back yet still counts: no other worker has the thing, and work that
        was done should not be done again only because its report came late.
        """
        lease = self.lease
        if lease is None or lease.attempt != attempt or lease.worker != worker.identity:
            raise LeaseLost(attempt, self.attempt)
        return lease
