"""Gives an observer an attempt's jobs while they come, and retracts what turns out otherwise."""

from __future__ import annotations

import pydantic

from planner_service.generation.reply.draft import JobDraft, PlanDraft, PlanReply, read_draft
from planner_service.generation.reply.plan_text import reply_start
from planner_service.generation.request import GenerationObserver

_MAX_TEXT = 131_072
_MAX_READS = 1_000
"""Bounds on what is looked at while a reply comes; the whole of it is read in the end."""


class StreamReconciler:
    """For one attempt, whose reply is of this model.

    Where a closing brace ends a job, the text up to it is a plan but for "]}". It is read anew each time, because a
    job's dependencies are positions among the others.
    """

    def __init__(self, observer: GenerationObserver, model: type[PlanReply]) -> None:
        self._observer = observer
        self._model = model
        self._text = ""
        self._start: int | None = None
        self._reads = 0
        self._shown: list[JobDraft] = []

    def feed(self, piece: str) -> None:
        """Takes another piece of the reply."""
        searched = len(self._text)
        if searched > _MAX_TEXT or self._reads >= _MAX_READS:
            return
        self._text += piece[:_MAX_TEXT]
        if self._start is None:
            # Not within the thoughts that a reply begins with.
            self._start = reply_start(self._text, searched)
            if self._start is None:
                return
        end = max(searched, self._start)
        while (end := self._text.find("}", end) + 1) and self._reads < _MAX_READS:
            self._reads += 1
            self._show(self._text[self._text.find("{", self._start) : end] + "]}")

    def _show(self, plan: str) -> None:
        try:
            jobs = read_draft(self._model.model_validate_json(plan)).jobs
        except pydantic.ValidationError:
            return
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
