"""A worker that holds leases: claims items, renews while it works, reports under the fencing token, releases at stop.

The executor (proposals) and the planner's kernel (queued plans) are both built on it. What is claimed, and what is done
with it, is a `LeasedQueue`; when to claim, renew, report again or give up is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from plangate_core.process.tasks import cancel_and_wait

# For the claim that is repeated at a stop, to learn what the interrupted one had leased.
_LAST_CLAIM_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_log = logging.getLogger(__name__)

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


class _Lease:
    """What is known here of a lease. It ends at `ends_at` of the monotonic clock unless it is renewed."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.lost = False
        self.must_stop = asyncio.Event()
        """A cancel of the item was requested, or the lease is lost."""

    def lose(self) -> None:
        self.lost = True
        self.must_stop.set()


class LeasedWorker(Generic[ItemT, ResultT, ReportT]):
    """Works on a queue's items, several at once."""

    def __init__(self, queue: LeasedQueue[ItemT, ResultT, ReportT], options: WorkerOptions) -> None:
        self._queue = queue
        self._options = options
        # A lease is renewed after a third of it, and again soon where that gets no answer: one lost call, or a server
        # that restarts, costs no work.
        self._renew_after_seconds = options.lease_seconds / 3
        self._renew_again_seconds = options.lease_seconds / 20
        self._renewal_timeout_seconds = options.lease_seconds / 4
        self._running: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()

    async def run(self, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Work until `stop` is set, then let running work finish; release it after the drain time.

        Cancelling this coroutine sets `stop` and releases at once.

        :param until_idle: also stop when nothing can be claimed and nothing runs.
        :raises Exception: what the queue raised, when a claim is REFUSED; after running work ended as at a stop.
        """
        claiming = asyncio.create_task(self._claim_until(stop, until_idle))
        try:
            await asyncio.wait({claiming})
            if self._running:
                await asyncio.wait(self._running, timeout=self._options.drain_seconds)
        finally:
            stop.set()
            self.release()
            await asyncio.wait({claiming})
            while self._running:
                await asyncio.wait(self._running)
            refusal = claiming.exception()
        if refusal is not None:
            raise refusal

    def release(self) -> None:
        """Stop running work now and release its leases."""
        self._released.set()

    async def run_one(self, item: ItemT, *, leased_at: float, begin: bool = True) -> Finished[ResultT, ReportT]:
        """Work on one item, from its lease to its report.

        :param leased_at: time.monotonic() before the claim was sent, so that the lease never seems longer than it is.
        :param begin: False: release the lease without beginning.
        """
        released = asyncio.create_task(self._released.wait())
        try:
            lease = self._lease_since(leased_at)
            if time.monotonic() - leased_at > self._renew_after_seconds:
                # The claim took long, or its first answer was lost: another worker may hold the lease by now.
                sent_at = time.monotonic()
                renewal = asyncio.create_task(self._confirm(item, sent_at + self._options.lease_seconds))
                try:
                    await asyncio.wait({renewal, released}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await cancel_and_wait(renewal)
                lease = self._lease_since(sent_at)
                if renewal.cancelled():
                    begin = False
                elif isinstance(error := renewal.exception(), Exception):
                    if self._queue.failure_kind(error) is FailureKind.LEASE_LOST:
                        return Finished(None, None, lease_lost=True)
                    result = self._queue.interrupted(item, Interruption.LEASE_NOT_CONFIRMED, error)
                    return await self._report(item, result, lease, released)
                else:
                    lease = self._lease_since(renewal.result())
            if not begin or self._released.is_set():
                result = self._queue.interrupted(item, Interruption.RELEASED)
                return await self._report(item, result, lease, released)
            return await self._work(item, lease, released)
        finally:
            await cancel_and_wait(released)

    def _lease_since(self, leased_at: float) -> _Lease:
        return _Lease(float("inf") if self._options.outlives_lease else leased_at + self._options.lease_seconds)

    async def _claim_until(self, stop: asyncio.Event, until_idle: bool) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                free = self._options.parallel - len(self._running)
                if free == 0:
                    await asyncio.wait({stopping, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                    continue
                if (pause := self._queue.pause_seconds()) > 0:
                    await asyncio.wait({stopping}, timeout=pause)
                    continue
                claimed = await self._claim(free, 0.0 if until_idle else self._options.wait_seconds, stopping)
                if claimed or not until_idle:
                    continue
                if not self._running:
                    return
                # What runs may set free what depends on it.
                await asyncio.wait({stopping, *self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _claim(self, max_items: int, wait_seconds: float, stopping: asyncio.Task[bool]) -> bool:
        """Claim once, and start what was leased. Returns early when `stopping` is done."""
        # One id for all attempts: an answer that was lost is given again, and no lease is forgotten.
        request_id = str(uuid.uuid4())
        leased_at = time.monotonic()
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            call = asyncio.create_task(self._queue.claim(max_items, wait_seconds=wait_seconds, request_id=request_id))
            await asyncio.wait({call, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                await cancel_and_wait(call)
                # The queue may have leased something just then: the same claim again says what, and does not wait.
                call = asyncio.create_task(self._queue.claim(max_items, wait_seconds=0.0, request_id=request_id))
                await asyncio.wait({call}, timeout=_LAST_CLAIM_SECONDS)
                await cancel_and_wait(call)
                if call.cancelled():
                    return False
            try:
                items = call.result()
            except Exception as error:
                if self._queue.failure_kind(error) is not FailureKind.TRANSIENT:
                    raise
                if stopping.done():
                    return False
                wait = max(pause_seconds, self._queue.retry_after_seconds(error))
                self._queue.unreachable(error, wait)
                # Jitter: many workers of one queue must not come back at once.
                await asyncio.wait({stopping}, timeout=wait * random.uniform(1.0, 1.25))  # noqa: S311
                if stopping.done():
                    return False
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
                continue
            for item in items:
                self._queue.claimed(item)
                task = asyncio.create_task(self._run_logged(item, leased_at, begin=not stopping.done()))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            return bool(items)

    async def _run_logged(self, item: ItemT, leased_at: float, *, begin: bool) -> None:
        try:
            self._queue.finished(item, await self.run_one(item, leased_at=leased_at, begin=begin))
        except Exception as error:
            _log.exception("a leased item was dropped: its lease will expire", exc_info=error)

    async def _confirm(self, item: ItemT, until: float) -> float:
        """Renew, repeatedly until the lease has certainly ended. Returns when the successful renewal was sent."""
        while True:
            sent_at = time.monotonic()
            try:
                await self._queue.renew(item, timeout_seconds=self._renewal_timeout_seconds)
            except Exception as error:
                pause = max(self._renew_again_seconds, self._queue.retry_after_seconds(error))
                transient = self._queue.failure_kind(error) is FailureKind.TRANSIENT
                if not transient or time.monotonic() + pause >= until:
                    raise
            else:
                return sent_at
            await asyncio.sleep(pause)

    async def _work(self, item: ItemT, lease: _Lease, released: asyncio.Task[bool]) -> Finished[ResultT, ReportT]:
        work = asyncio.create_task(self._queue.perform(item))
        # Also while the work is being stopped, which may take its time, and while its result is reported.
        renewing = asyncio.create_task(self._keep_renewing(item, lease))
        must_stop = asyncio.create_task(lease.must_stop.wait())
        try:
            await asyncio.wait({work, must_stop, released}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await cancel_and_wait(work)
            if not work.cancelled():
                result = work.result()
            elif must_stop.done():
                result = self._queue.interrupted(item, Interruption.CANCEL_REQUESTED)
            else:
                result = self._queue.interrupted(item, Interruption.RELEASED)
            if lease.lost:
                return Finished(result, None, lease_lost=True)
            return await self._report(item, result, lease, released)
        finally:
            await cancel_and_wait(work, renewing, must_stop)

    async def _keep_renewing(self, item: ItemT, lease: _Lease) -> None:
        """Renew until the lease is lost."""
        pause = self._renew_after_seconds
        while True:
            await asyncio.sleep(max(0.0, min(pause, lease.ends_at - time.monotonic())))
            sent_at = time.monotonic()
            if sent_at >= lease.ends_at:
                lease.lose()
                return
            try:
                timeout_seconds = min(self._renewal_timeout_seconds, lease.ends_at - sent_at)
                cancel_requested = await self._queue.renew(item, timeout_seconds=timeout_seconds)
            except Exception as error:
                if self._queue.failure_kind(error) is FailureKind.LEASE_LOST:
                    lease.lose()
                    return
                _log.debug("a lease was not renewed: %s", type(error).__name__)
                pause = self._renew_again_seconds
                continue
            pause = self._renew_after_seconds
            lease.ends_at = self._lease_since(sent_at).ends_at
            if cancel_requested:
                lease.must_stop.set()

    async def _report(
        self, item: ItemT, result: ResultT, lease: _Lease, released: asyncio.Task[bool]
    ) -> Finished[ResultT, ReportT]:
        reporting = asyncio.create_task(self._report_until_taken(item, result, lease))
        try:
            await asyncio.wait({reporting, released}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reporting}, timeout=self._options.release_seconds)
        finally:
            await cancel_and_wait(reporting)
        return Finished(result, None, lease_lost=False) if reporting.cancelled() else reporting.result()

    async def _report_until_taken(self, item: ItemT, result: ResultT, lease: _Lease) -> Finished[ResultT, ReportT]:
        """Report with one request_id while the lease holds, and once more after that: a report whose answer was lost
        ended the lease itself, and the queue says so."""
        request_id = str(uuid.uuid4())
        while True:
            is_last = lease.lost or time.monotonic() >= lease.ends_at
            try:
                return Finished(result, await self._queue.report(item, result, request_id=request_id), lease_lost=False)
            except Exception as error:
                kind = self._queue.failure_kind(error)
                if kind is FailureKind.LEASE_LOST:
                    return Finished(result, None, lease_lost=True)
                if is_last or kind is FailureKind.REFUSED:
                    _log.warning("a result was not reported: %s", type(error).__name__)
                    return Finished(result, None, lease_lost=False)
                pause = max(min(1.0, self._options.lease_seconds / 10), self._queue.retry_after_seconds(error))
            await asyncio.sleep(max(0.0, min(pause, lease.ends_at - time.monotonic())))
