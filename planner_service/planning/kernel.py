"""The cognitive loop: claims queued plans from the store, plans them as CreatePlan would, and hands them back.

The store is the memory: a planner that dies loses nothing, its lease runs out and another one takes the plan. What it
hands back carries the lease's token, so a planner that was only slow cannot overwrite what the other one did.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog

from plangate_client.renewal import RenewalSchedule
from plangate_core.process.tasks import ended
from plangate_core.rpc.correlation import set_current_request_id
from planner_service.generation.errors import (
    BudgetExhausted,
    CircuitOpen,
    GenerationFailed,
    ModelRefused,
    PlanInvalid,
    PromptTooLong,
)
from planner_service.planning.errors import ModelNotAllowed, PlanningRefused, StoreTimedOut, StoreUnavailable
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.plan import ClaimedPlan, Plan, PlanningEnded
from planner_service.planning.plan_generation import PlanGeneration, generation_deadline

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 15.0
# Time for the store to take the result after planning ended.
_COMMIT_SECONDS = 20.0
# Time for the store to take back what a planner that is stopped could not finish.
_GIVE_BACK_SECONDS = 2.0
# A provider may ask to be left alone for longer than the store would have a plan wait (a year), or than anybody meant.
_LONGEST_DELAY_SECONDS = 86_400.0
_LEAST_DELAY_SECONDS = 1.0
# Another try would end the same way: a model that answers wrongly at temperature 0 will do so again, and the attempts
# within one planning have already tried to mend that. Whatever else went wrong, a provider that is away above all, may
# be over by then.
_FINAL = (PlanInvalid, ModelRefused, BudgetExhausted, PromptTooLong, ModelNotAllowed)


class PlanQueue(Protocol):
    """The store's queue. Every method raises StoreUnavailable."""

    async def claim_plans(
        self, max_plans: int, *, lease: timedelta, wait: timedelta, request_id: str
    ) -> list[ClaimedPlan]:
        """Lease queued plans, waiting for one when there is none. The same request_id gives the same plans."""

    async def renew_lease(self, claimed: ClaimedPlan, lease: timedelta) -> bool:
        """Prolong a lease. Returns False when it is lost."""

    async def complete_planning(self, claimed: ClaimedPlan, plan: Plan, *, request_id: str, deadline: float) -> bool:
        """Store what was generated. Returns False when the lease is lost."""

    async def end_planning(
        self, claimed: ClaimedPlan, ending: PlanningEnded, *, request_id: str, deadline: float
    ) -> bool:
        """End the attempt without a plan. Returns False when the lease is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSettings:
    """How the loop works. `plan_seconds` bounds one planning attempt."""

    concurrency: int
    lease_seconds: float
    wait_seconds: float
    plan_seconds: float


class Kernel:
    """One loop in one planner: `run` until `stop_claiming`."""

    def __init__(
        self,
        generation: PlanGeneration,
        queue: PlanQueue,
        settings: KernelSettings,
        metrics: PlanningMetrics,
        reason_of: Callable[[Exception], str],
        seconds_until_model: Callable[[], float],
    ) -> None:
        """`reason_of`: the contract's reason for a failure. `seconds_until_model`: how long no model may be asked."""
        self._generation = generation
        self._queue = queue
        self._settings = settings
        self._metrics = metrics
        self._reason_of = reason_of
        self._seconds_until_model = seconds_until_model
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(settings.concurrency)
        self._stopping = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None

    def stop_claiming(self) -> None:
        """Take no further plans; those in flight go on."""
        self._stopping.set()

    async def run(self) -> None:
        """Claim and plan until stop_claiming(), then finish what is in flight. Cancel it to give that back instead: to
        another planner at once, or, where the store is away, when their leases run out."""
        try:
            await self._claim_until_stopped()
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            # One that has not begun yet would give nothing back.
            await asyncio.sleep(0)
            await ended(*self._tasks)
            while self._returning is not None and not self._returning.done():
                # It ends soon by itself; who is in a hurry would leave a lease behind.
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((self._returning,))

    async def _claim_until_stopped(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            if not await self._until_stopped(self._free.acquire()):
                return
            self._free.release()
            if (pause := self._seconds_until_model()) > 0:
                # What is claimed now would only be given back.
                await self._until_stopped(asyncio.sleep(pause))
                continue
            room = max(1, self._settings.concurrency - len(self._tasks))
            request_id = str(uuid.uuid4())
            try:
                wait = timedelta(seconds=self._settings.wait_seconds)
                claiming = self._queue.claim_plans(room, lease=self._lease, wait=wait, request_id=request_id)
                claimed = await self._until_stopped(claiming)
                if claimed is None:
                    self._returning = asyncio.create_task(self._return_last_claim(room, request_id))
                    return
                if failures:
                    _log.info("the queue answers again", failures=failures)
                failures = 0
            except asyncio.CancelledError:
                raise
            except Exception as error:
                failures += 1
                pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(failures, 10))
                if isinstance(error, StoreUnavailable):
                    # Once an outage, not once a try.
                    if failures == 1:
                        cause = str(error.__cause__ or error)
                        _log.warning("the queue cannot be reached: trying again until it can", cause=cause)
                else:
                    _log.error("claiming failed", exc_info=error, pause_seconds=round(pause, 1))
                # Jitter: many planners of one store must not come back as one.
                await self._until_stopped(asyncio.sleep(random.uniform(pause / 2, pause)))  # noqa: S311
                continue
            for plan in claimed:
                await self._free.acquire()
                task = asyncio.create_task(self._work_on(plan))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    async def _return_last_claim(self, room: int, request_id: str) -> None:
        """The store may have leased something in the moment when the claim was broken off: the same claim again says
        what, and it is given back."""
        try:
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                leased = await self._queue.claim_plans(
                    room, lease=self._lease, wait=timedelta(0), request_id=request_id
                )
        except Exception as error:
            _log.warning("whether the last claim leased anything is not known", error=type(error).__name__)
            return
        await asyncio.gather(*(self._give_back(plan) for plan in leased))

    async def _until_stopped(self, awaitable: Awaitable[T]) -> T | None:
        """The result, or None when the loop was stopped first."""
        work = asyncio.ensure_future(awaitable)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            return await work if work.done() else None
        finally:
            for task in (work, stop):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await stop

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()):
            _log.error("a claimed plan was dropped: its lease will run out", exc_info=error)

    async def _work_on(self, claimed: ClaimedPlan) -> None:
        set_current_request_id(f"plan-{claimed.id}-{claimed.attempt}")
        planning = asyncio.create_task(self._plan(claimed))
        renewing = asyncio.create_task(self._renew(claimed))
        try:
            await asyncio.wait((planning, renewing), return_when=asyncio.FIRST_COMPLETED)
            if planning.done():
                self._metrics.queued_plan(planning.result())
            else:
                # Only a lost lease ends the renewals: somebody cancelled the plan, or another planner has it.
                _log.warning("lease lost", plan_id=claimed.id, attempt=claimed.attempt)
                self._metrics.queued_plan("lost")
        except asyncio.CancelledError:
            await ended(planning, renewing)
            await self._give_back(claimed)
            raise
        finally:
            await ended(planning, renewing)

    async def _give_back(self, claimed: ClaimedPlan) -> None:
        """This planner is stopped in the middle of it."""
        self._metrics.queued_plan("given back")
        try:
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                await self._queue.end_planning(
                    claimed,
                    PlanningEnded("PLANNER_STOPPED", "the planner was stopped", counts=False),
                    request_id=str(uuid.uuid4()),
                    deadline=asyncio.get_running_loop().time() + _GIVE_BACK_SECONDS,
                )
        except Exception as error:
            _log.warning("plan not given back: its lease will run out", plan_id=claimed.id, error=type(error).__name__)

    async def _renew(self, claimed: ClaimedPlan) -> None:
        """Returns when the lease is lost."""
        pace = RenewalSchedule(self._settings.lease_seconds)
        pause = pace.after_seconds
        while True:
            await asyncio.sleep(pause)
            try:
                if not await self._queue.renew_lease(claimed, self._lease):
                    return
                pause = pace.after_seconds
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # The lease may outlive a short outage: go on until the store says that it did not.
                pause = pace.again_after_seconds
                _log.warning("lease not renewed", plan_id=claimed.id, error=type(error).__name__)

    async def _plan(self, claimed: ClaimedPlan) -> str:
        """Plan and hand back. Returns how it ended, for the metrics."""
        loop = asyncio.get_running_loop()
        try:
            plan = await self._generation.generate(
                claimed.request,
                requester=claimed.requester,
                deadline=generation_deadline(loop.time() + self._settings.plan_seconds),
            )
        except (GenerationFailed, PlanningRefused) as error:
            return await self._give_up(claimed, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.error("planning failed", plan_id=claimed.id, exc_info=error)
            return await self._give_up(claimed, error)
        # Derived, not random: a repeated hand-over of this attempt is the same call to the store.
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"plangate:plan:{claimed.id}:{claimed.attempt}:complete"))
        try:
            held = await self._until_taken(
                lambda deadline: self._queue.complete_planning(claimed, plan, request_id=request_id, deadline=deadline)
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.error("the store does not take the plan", plan_id=claimed.id, exc_info=error)
            return await self._give_up(claimed, error)
        if held:
            self._metrics.planned(plan)
        return "completed" if held else "lost"

    async def _give_up(self, claimed: ClaimedPlan, error: Exception) -> str:
        self._metrics.failed(error)
        reason, message, retryable = "INTERNAL", "the planner failed; its log says why", not isinstance(error, _FINAL)
        if isinstance(error, (GenerationFailed, PlanningRefused)):
            reason, message = self._reason_of(error), str(error)
        report = error.report if isinstance(error, GenerationFailed) else None
        delay = error.retry_after_seconds if isinstance(error, GenerationFailed) else None
        if isinstance(error, CircuitOpen) and (report is None or not report.attempts):
            # Nobody was asked. An outage should not make dead letters of all that waits.
            pause = timedelta(seconds=max(_LEAST_DELAY_SECONDS, delay or 0.0))
            ending = PlanningEnded(reason, message, retry_delay=pause, counts=False)
            outcome = "given back"
        else:
            _log.info("plan not made", plan_id=claimed.id, attempt=claimed.attempt, reason=reason, retryable=retryable)
            ending = PlanningEnded(
                reason,
                message,
                report=report,
                retryable=retryable,
                retry_delay=None if delay is None else timedelta(seconds=min(delay, _LONGEST_DELAY_SECONDS)),
            )
            outcome = "put back" if retryable else "failed"
        # One for all times that it is said. Not derived of the attempt, whose number a plan given back keeps.
        request_id = str(uuid.uuid4())
        held = await self._until_taken(
            lambda deadline: self._queue.end_planning(claimed, ending, request_id=request_id, deadline=deadline)
        )
        return outcome if held else "lost"

    async def _until_taken(self, hand_over: Callable[[float], Awaitable[bool]]) -> bool:
        """Hand a result over, again while the store is away: the work is done, and the lease is being renewed."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await hand_over(asyncio.get_running_loop().time() + _COMMIT_SECONDS)
            except (StoreUnavailable, StoreTimedOut):
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
