"""Identical requests at the same time share one generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from planner_service.errors import PlanningTimedOut
from planner_service.generation.attempts import Attempt
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.instructor_client import InstructorClient
from planner_service.generation.reply.draft import JobDraft
from planner_service.generation.request import GenerationObserver, GenerationRequest, GenerationResult
from planner_service.planning.metrics import PlanningMetrics

# Past the InstructorClient's own deadline: it ends by itself, with a report, which says more than our giving up.
_GRACE_SECONDS = 0.25


class SingleFlight:
    """In front of an InstructorClient. One event loop only."""

    def __init__(self, instructor_client: InstructorClient, metrics: PlanningMetrics) -> None:
        self._instructor_client = instructor_client
        self._metrics = metrics
        self._flights: dict[tuple[str, bool], _Flight] = {}

    async def generate(
        self, key: str, request: GenerationRequest, observer: GenerationObserver | None = None
    ) -> GenerationResult:
        """As the InstructorClient does, shared by all callers with the same key at this moment.

        An observer that joins late gets what it missed. When no caller waits any more, the generation is cancelled.
        Raises what the InstructorClient raises, and PlanningTimedOut.
        """
        # With an observer the model streams: that is another call, so those only share among themselves.
        place = (key, observer is not None)
        flight = self._flights.get(place)
        if flight is None or not flight.outlasts(request.deadline):
            flight = _Flight(request.deadline)
            flight.task = asyncio.create_task(self._counted(request, flight if observer else None))
            flight.task.add_done_callback(_retrieved)
            self._flights[place] = flight
        flight.join(observer)
        try:
            async with asyncio.timeout_at(None if request.deadline is None else request.deadline + _GRACE_SECONDS):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise PlanningTimedOut(request.model) from None
        finally:
            flight.leave(observer)
            if (flight.task.done() or not flight.waiting) and self._flights.get(place) is flight:
                del self._flights[place]
            if not flight.waiting:
                flight.task.cancel()

    async def _counted(self, request: GenerationRequest, observer: GenerationObserver | None) -> GenerationResult:
        """The InstructorClient's result, counted once however many callers share it."""
        try:
            result = await self._instructor_client.generate_plan(request, observer)
        except GenerationFailed as failure:
            if failure.report is not None:
                self._metrics.generated(failure.report, valid=False)
            raise
        self._metrics.generated(result.report, valid=True)
        return result


class _Flight:
    """One generation under way and its callers. Passes what it observes on to all their observers."""

    task: asyncio.Task[GenerationResult]

    def __init__(self, deadline: float | None) -> None:
        self.waiting = 0
        self._deadline = deadline
        self._observers: list[GenerationObserver] = []
        self._updates: list[Callable[[GenerationObserver], None]] = []

    def outlasts(self, deadline: float | None) -> bool:
        """Whether it will not be cut off before that deadline."""
        return self._deadline is None or (deadline is not None and deadline <= self._deadline + 1.0)

    def join(self, observer: GenerationObserver | None) -> None:
        """One more waits."""
        self.waiting += 1
        if observer is not None:
            for update in self._updates:
                update(observer)
            self._observers.append(observer)

    def leave(self, observer: GenerationObserver | None) -> None:
        """One less waits."""
        self.waiting -= 1
        if observer is not None:
            self._observers.remove(observer)

    def attempt_started(self, number: int, model: str) -> None:
        self._send(lambda observer: observer.attempt_started(number, model))

    def attempt_finished(self, attempt: Attempt) -> None:
        self._send(lambda observer: observer.attempt_finished(attempt))

    def job(self, job: JobDraft, index: int) -> None:
        self._send(lambda observer: observer.job(job, index))

    def jobs_retracted(self, indexes: Sequence[int], reason: str) -> None:
        self._send(lambda observer: observer.jobs_retracted(indexes, reason))

    def _send(self, update: Callable[[GenerationObserver], None]) -> None:
        self._updates.append(update)
        for observer in self._observers:
            update(observer)


def _retrieved(task: asyncio.Task[GenerationResult]) -> None:
    # All callers may be gone: without this the loop would report an exception that was never retrieved.
    if not task.cancelled():
        task.exception()
