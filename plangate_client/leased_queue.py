"""What a worker that holds leases works on: a queue of items, and the words for how working on one may end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
ReportT = TypeVar("ReportT")


class FailureKind(Enum):
    """What a failed call to the queue means."""

    TRANSIENT = "transient"
    """The same call may succeed later."""
    REFUSED = "refused"
    """The same call would fail in the same way again."""
    LEASE_LOST = "lease_lost"
    """The worker does not hold the lease any more."""


class Interruption(Enum):
    """Why work was stopped, or never begun."""

    CANCEL_REQUESTED = "cancel_requested"
    RELEASED = "released"
    """The worker stops and releases its leases."""
    LEASE_NOT_CONFIRMED = "lease_not_confirmed"
    """The claim took so long that the lease had to be renewed first, and it could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How much a worker does at once, and how long it waits."""

    parallel: int = 4
    lease_seconds: float = 30.0
    """The queue gives a crashed worker's items to another one after this time."""
    wait_seconds: float = 20.0
    """How long one claim waits for an item to appear."""
    drain_seconds: float | None = 20.0
    """After a stop: how long running work may take to finish before it is released. None: without limit."""
    release_seconds: float | None = None
    """How long a report may take once the leases are released. None: as long as the lease holds."""
    outlives_lease: bool = False
    """Work goes on after the lease ended on this worker's clock, until the queue says that it is lost. For work without
    effects of its own."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[ResultT, ReportT]):
    """How the work on one item ended."""

    result: ResultT | None
    """None: the lease was lost before the work began."""
    report: ReportT | None
    """The queue's answer to the report. None: nothing was reported, or no answer came."""
    lease_lost: bool


class LeasedQueue(Protocol[ItemT, ResultT, ReportT]):
    """Where items are leased from, and what is done with them."""

    async def claim(self, max_items: int, *, wait_seconds: float, request_id: str) -> Sequence[ItemT]:
        """Lease items, waiting for one when there is none. The same request_id gives the same items."""

    async def renew(self, item: ItemT, *, timeout_seconds: float) -> bool:
        """Prolong a lease. Returns True when a cancel of the item was requested."""

    async def perform(self, item: ItemT) -> ResultT:
        """Do the work. Raises nothing but CancelledError: faults are results too."""

    def interrupted(self, item: ItemT, cause: Interruption, error: Exception | None = None) -> ResultT:
        """What to report of work that was stopped or never begun."""

    async def report(self, item: ItemT, result: ResultT, *, request_id: str) -> ReportT:
        """End the lease with a result. Repeated with the same request_id while the failure is TRANSIENT."""

    def failure_kind(self, error: Exception) -> FailureKind:
        """What a failed claim, renewal or report means."""

    def pause_seconds(self) -> float:
        """How long to wait before the next claim; 0: not at all."""

    def claimed(self, item: ItemT) -> None:
        """An item was leased."""

    def finished(self, item: ItemT, finished: Finished[ResultT, ReportT]) -> None:
        """The work on an item ended."""

    def unreachable(self, error: Exception, pause_seconds: float) -> None:
        """A claim failed; the next one comes after the pause."""

    def retry_after_seconds(self, error: Exception) -> float:
        """How long the queue asks to be left alone; 0 when it does not say."""
