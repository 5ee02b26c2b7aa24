"""What is told of a plan while it is made, and the promise that in the end it agrees with the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from planner_service.generation.attempts import Attempt
from planner_service.generation.reply.draft import JobDraft
from planner_service.planning.checks import job_id
from planner_service.planning.plan import Job


class PlanObserver(Protocol):
    """Hears of a plan in the making. Methods are called on the event loop and must not block or raise."""

    def attempt_started(self, number: int, model: str) -> None:
        """A call to the model begins."""

    def attempt_finished(self, attempt: Attempt) -> None:
        """A call to the model ended, well or not."""

    def job(self, job: Job) -> None:
        """A job is complete, checked and governed."""

    def jobs_retracted(self, job_ids: Sequence[str], reason: str) -> None:
        """Jobs told of before will not be in the plan as they were."""


class GovernedJobObserver:
    """Between the generator, which knows drafts by position, and an observer, who hears of governed jobs only.

    A draft that fails the checks by itself is not told; whether it fits the others shows when the reply is complete.
    """

    def __init__(self, observer: PlanObserver, governed: Callable[[int, JobDraft], Job | None]) -> None:
        """`governed` makes a job of a draft and its position, None when it fails the checks."""
        self._observer = observer
        self._governed = governed
        self._told: dict[str, Job] = {}

    def attempt_started(self, number: int, model: str) -> None:
        self._observer.attempt_started(number, model)

    def attempt_finished(self, attempt: Attempt) -> None:
        self._observer.attempt_finished(attempt)

    def job(self, job: JobDraft, index: int) -> None:
        governed = self._governed(index, job)
        if governed is not None and self._told.get(governed.id) != governed:
            self._take_back([governed.id], "the model changed it")
            self._tell(governed)

    def jobs_retracted(self, indexes: Sequence[int], reason: str) -> None:
        self._take_back([job_id(index) for index in indexes], reason)

    def settle(self, jobs: Sequence[Job]) -> None:
        """Make what was told agree with the plan: take back what differs, tell what is missing, in its order."""
        final = {job.id: job for job in jobs}
        self._take_back(
            [told for told, job in self._told.items() if final.get(told) != job], "the plan has it otherwise, or not"
        )
        for job in jobs:
            if job.id not in self._told:
                self._tell(job)

    def _tell(self, job: Job) -> None:
        self._told[job.id] = job
        self._observer.job(job)

    def _take_back(self, job_ids: Sequence[str], reason: str) -> None:
        known = [told for told in job_ids if self._told.pop(told, None) is not None]
        if known:
            self._observer.jobs_retracted(known, reason)
