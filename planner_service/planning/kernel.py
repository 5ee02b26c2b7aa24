"""The cognitive loop: claims queued plans from the store, plans them as CreatePlan would, and reports the result.

The store is the memory: a planner that dies loses nothing, its lease expires and another one claims the plan. Reports
carry the lease's fencing token, so a planner that was only slow cannot overwrite what the other one did.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from plangate_client.leased_worker import FailureKind, Finished, Interruption, LeasedWorker, WorkerOptions
from plangate_core.rpc.correlation import set_current_request_id
from planner_service.errors import LeaseLost, ModelNotAllowed, PlanningRefused, StoreTimedOut, StoreUnavailable
from planner_service.generation.errors import (
    BudgetExhausted,
    CircuitOpen,
    GenerationFailed,
    ModelRefused,
    PlanInvalid,
    PromptTooLong,
)
from planner_service.plan import ClaimedPlan, Plan, PlanningEnded
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.plan_generation import PlanGeneration, generation_deadline
from planner_service.store_gateway import StoreGateway

_log = structlog.get_logger(__name__)

# Time for the store to take the result after planning ended.
_COMMIT_SECONDS = 20.0
# Time for the store to take reports once the planner is stopped.
_RELEASE_SECONDS = 2.0
# A provider may ask to be left alone for longer than the store would have a plan wait (a year), or than anybody meant.
_LONGEST_DELAY_SECONDS = 86_400.0
_LEAST_DELAY_SECONDS = 1.0
# Another try would end the same way: a model that answers wrongly at temperature 0 will do so again, and the attempts
# within one planning have already tried to mend that. Whatever else went wrong, a provider that is away above all, may
# be over by then.
_FINAL = (PlanInvalid, ModelRefused, BudgetExhausted, PromptTooLong, ModelNotAllowed)


class _ClaimFailed(Exception):
    """A claim failed for a reason that may be over by the next one; the cause was logged."""


@dataclass(slots=True)
class _LeasedPlan:
    claimed: ClaimedPlan
    rejected: PlanningEnded | None = None
    """What to report after the store rejected the generated plan itself."""


class Kernel:
    """Works on the store's queue of plans: `run` until `stop_claiming`. A LeasedQueue for its LeasedWorker."""

    def __init__(
        self,
        generation: PlanGeneration,
        queue: StoreGateway,
        metrics: PlanningMetrics,
        reason_of: Callable[[Exception], str],
        seconds_until_model: Callable[[], float],
        *,
        concurrency: int,
        lease_seconds: float,
        wait_seconds: float,
        plan_seconds: float,
    ) -> None:
        """`reason_of`: the contract's reason for a failure. `seconds_until_model`: how long no model may be called.
        `plan_seconds` bounds one planning attempt."""
        self._generation = generation
        self._queue = queue
        self._metrics = metrics
        self._reason_of = reason_of
        self._lease = timedelta(seconds=lease_seconds)
        self._plan_seconds = plan_seconds
        self._stopping = asyncio.Event()
        self._failed_claims = 0
        self.pause_seconds = seconds_until_model
        self._worker = LeasedWorker(
            self,
            WorkerOptions(
                parallel=concurrency,
                lease_seconds=lease_seconds,
                wait_seconds=wait_seconds,
                drain_seconds=None,
                release_seconds=_RELEASE_SECONDS,
                # A draft has no effects, and the store may still take it after an outage.
                outlives_lease=True,
            ),
        )

    def stop_claiming(self) -> None:
        """Claim no further plans; those in flight go on."""
        self._stopping.set()

    async def run(self) -> None:
        """Claim and plan until stop_claiming(), then finish what is in flight. Cancel it to release that instead: to
        another planner at once, or, where the store is away, when the leases expire."""
        await self._worker.run(self._stopping)

    async def claim(self, max_items: int, *, wait_seconds: float, request_id: str) -> Sequence[_LeasedPlan]:
        try:
            wait = timedelta(seconds=wait_seconds)
            claimed = await self._queue.claim_plans(max_items, lease=self._lease, wait=wait, request_id=request_id)
        except (StoreUnavailable, StoreTimedOut):
            raise
        except Exception as error:
            _log.error("claiming failed", exc_info=error)
            raise _ClaimFailed from error
        if self._failed_claims:
            _log.info("the queue answers again", failures=self._failed_claims)
            self._failed_claims = 0
        return [_LeasedPlan(plan) for plan in claimed]

    def unreachable(self, error: Exception, pause_seconds: float) -> None:
        # Once an outage, not once an attempt.
        if not self._failed_claims and isinstance(error, (StoreUnavailable, StoreTimedOut)):
            cause = str(error.__cause__ or error)
            _log.warning("the queue cannot be reached: trying again until it can", cause=cause)
        self._failed_claims += 1

    def claimed(self, item: _LeasedPlan) -> None:
        """Nothing to say yet: how it ends is counted."""

    async def renew(self, item: _LeasedPlan, *, timeout_seconds: float) -> bool:
        _correlate(item)
        await self._queue.renew_lease(item.claimed, self._lease, timeout_seconds=timeout_seconds)
        return False

    async def perform(self, item: _LeasedPlan) -> Plan | PlanningEnded:
        _correlate(item)
        claimed = item.claimed
        loop = asyncio.get_running_loop()
        try:
            return await self._generation.generate(
                claimed.request,
                requester=claimed.requester,
                deadline=generation_deadline(loop.time() + self._plan_seconds),
            )
        except Exception as error:
            if not isinstance(error, (GenerationFailed, PlanningRefused)):
                _log.error("planning failed", plan_id=claimed.id, exc_info=error)
            return self._failed(claimed, error)

    def interrupted(self, item: _LeasedPlan, cause: Interruption, error: Exception | None = None) -> PlanningEnded:
        if cause is Interruption.LEASE_NOT_CONFIRMED:
            return PlanningEnded("LEASE_NOT_RENEWED", "the planner could not renew the lease", counts=False)
        return PlanningEnded("PLANNER_STOPPED", "the planner was stopped", counts=False)

    async def report(self, item: _LeasedPlan, result: Plan | PlanningEnded, *, request_id: str) -> str:
        """Returns how the plan ended, for the metrics."""
        _correlate(item)
        deadline = asyncio.get_running_loop().time() + _COMMIT_SECONDS
        ending = item.rejected or result
        if isinstance(ending, Plan):
            try:
                await self._queue.complete_planning(item.claimed, ending, request_id=request_id, deadline=deadline)
            except (StoreUnavailable, StoreTimedOut, LeaseLost):
                raise
            except Exception as error:
                _log.error("the store does not take the plan", plan_id=item.claimed.id, exc_info=error)
                ending = item.rejected = self._failed(item.claimed, error)
            else:
                self._metrics.planned(ending)
                return "completed"
        if item.rejected is not None:
            # Another write than the one before, so another id, the same for all its attempts.
            request_id = str(uuid.uuid5(uuid.UUID(request_id), "rejected"))
        await self._queue.end_planning(item.claimed, ending, request_id=request_id, deadline=deadline)
        if not ending.counts:
            return "given back"
        return "put back" if ending.retryable else "failed"

    def finished(self, item: _LeasedPlan, finished: Finished[Plan | PlanningEnded, str]) -> None:
        if finished.lease_lost:
            _log.warning("lease lost", plan_id=item.claimed.id, attempt=item.claimed.attempt)
            self._metrics.queued_plan("lost")
        elif finished.report is None:
            _log.warning("plan not released: its lease will expire", plan_id=item.claimed.id)
            self._metrics.queued_plan("given back")
        else:
            self._metrics.queued_plan(finished.report)

    def failure_kind(self, error: Exception) -> FailureKind:
        if isinstance(error, LeaseLost):
            return FailureKind.LEASE_LOST
        transient = isinstance(error, (StoreUnavailable, StoreTimedOut, _ClaimFailed))
        return FailureKind.TRANSIENT if transient else FailureKind.REFUSED

    def retry_after_seconds(self, error: Exception) -> float:
        return error.retry_after_seconds or 0.0 if isinstance(error, StoreUnavailable) else 0.0

    def _failed(self, claimed: ClaimedPlan, error: Exception) -> PlanningEnded:
        """What to report of a planning attempt that failed."""
        self._metrics.failed(error)
        reason, message, report, delay = "INTERNAL", "the planner failed; its log says why", None, None
        if isinstance(error, (GenerationFailed, PlanningRefused)):
            reason, message = self._reason_of(error), str(error)
        if isinstance(error, GenerationFailed):
            report, delay = error.report, error.retry_after_seconds
        if isinstance(error, CircuitOpen) and (report is None or not report.attempts):
            # No model was called. An outage should not make dead letters of all that waits.
            pause = timedelta(seconds=max(_LEAST_DELAY_SECONDS, delay or 0.0))
            return PlanningEnded(reason, message, retry_delay=pause, counts=False)
        retryable = not isinstance(error, _FINAL)
        _log.info("plan not made", plan_id=claimed.id, attempt=claimed.attempt, reason=reason, retryable=retryable)
        return PlanningEnded(
            reason,
            message,
            report=report,
            retryable=retryable,
            retry_delay=None if delay is None else timedelta(seconds=min(delay, _LONGEST_DELAY_SECONDS)),
        )


def _correlate(item: _LeasedPlan) -> None:
    set_current_request_id(f"plan-{item.claimed.id}-{item.claimed.attempt}")
