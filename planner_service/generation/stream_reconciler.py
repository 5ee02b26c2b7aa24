"""Tells an observer of an attempt's jobs while they come, and takes back what turns out otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from planner_service.generation.instructor_client import ResponseModel
from planner_service.generation.reply.draft import AS_IT_IS, Amendments, JobDraft, PlanDraft, PlanReply
from planner_service.generation.reply.partial_reply import JobReader, read_jobs
from planner_service.generation.request import GenerationObserver


@dataclasses.dataclass(slots=True)
class StreamReconciler:
    """For one attempt. `amendments_to` says what to change in the jobs that have come so far."""

    observer: GenerationObserver
    form: ResponseModel
    amendments_to: Callable[[PlanReply], Amendments] = lambda _: AS_IT_IS
    reader: JobReader = dataclasses.field(default_factory=JobReader)
    told: list[JobDraft] = dataclasses.field(default_factory=list)

    def hear(self, piece: str) -> None:
        """Another piece of the reply."""
        if not self.reader.feed(piece):
            return
        jobs = read_jobs(self.reader, self.form.model, self.amendments_to)
        for index in range(len(self.told), len(jobs)):
            self.told.append(jobs[index])
            self.observer.job(jobs[index], index)

    def retract(self, reason: str) -> None:
        """The attempt failed: none of its jobs counts."""
        if self.told:
            self.observer.jobs_retracted(range(len(self.told)), reason)

    def settle(self, draft: PlanDraft) -> None:
        """The attempt succeeded with this draft: make what was told agree with it."""
        wrong = [index for index, job in enumerate(self.told) if index >= len(draft.jobs) or draft.jobs[index] != job]
        if wrong:
            self.observer.jobs_retracted(wrong, "the complete reply reads differently")
        for index, job in enumerate(draft.jobs):
            if index in wrong or index >= len(self.told):
                self.observer.job(job, index)
