"""Gives an observer an attempt's jobs while they come, and retracts what turns out otherwise."""

from __future__ import annotations

from collections.abc import Callable

from planner_service.generation.reply.draft import Corrections, JobDraft, PlanDraft, PlanReply
from planner_service.generation.reply.job_reader import JobReader, read_jobs
from planner_service.generation.request import GenerationObserver


class StreamReconciler:
    """For one attempt.

    :param review: what to change in the jobs that have come so far
    """

    def __init__(
        self, observer: GenerationObserver, model: type[PlanReply], review: Callable[[PlanReply], Corrections]
    ) -> None:
        self._observer = observer
        self._model = model
        self._review = review
        self._reader = JobReader()
        self._shown: list[JobDraft] = []

    def feed(self, piece: str) -> None:
        """Takes another piece of the reply."""
        if not self._reader.feed(piece):
            return
        jobs = read_jobs(self._reader, self._model, self._review)
        for index in range(len(self._shown), len(jobs)):
            self._shown.append(jobs[index])
            self._observer.job(jobs[index], index)

    def retract(self, reason: str) -> None:
        """The attempt failed: none of its jobs counts."""
        if self._shown:
            self._observer.jobs_retracted(range(len(self._shown)), reason)

    def settle(self, draft: PlanDraft) -> None:
        """The attempt succeeded with this draft: make what was shown agree with it."""
        wrong = [index for index, job in enumerate(self._shown) if index >= len(draft.jobs) or draft.jobs[index] != job]
        if wrong:
            self._observer.jobs_retracted(wrong, "the complete reply reads differently")
        for index, job in enumerate(draft.jobs):
            if index in wrong or index >= len(self._shown):
                self._observer.job(job, index)
