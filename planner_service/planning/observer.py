"""Updates about a plan while it is made, which agree with the plan in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner_service.generation.attempts import Attempt
from planner_service.generation.reply.draft import JobDraft
from planner_service.plan import AttemptStarted, Job, JobsRetracted, PlanUpdate
from planner_service.planning.checking.checks import job_id

PlanObserver = Callable[[PlanUpdate], None]
"""Called on the event loop; must not block or raise."""


class GovernedJobObserver:
    """Observes a generation, which knows drafts by position, and sends governed jobs on.

    A draft that fails the checks by itself is not sent; whether it fits the others shows when the reply is complete.
    """

    def __init__(self, send: PlanObserver, governed: Callable[[int, JobDraft], Job | None]) -> None:
        """`governed` makes a job of a position and a draft, None when it fails the checks."""
        self._send = send
        self._governed = governed
        self._sent: dict[str, Job] = {}

    def attempt_started(self, number: int, model: str) -> None:
        self._send(AttemptStarted(number, model))

    def attempt_finished(self, attempt: Attempt) -> None:
        self._send(attempt)

    def job(self, job: JobDraft, index: int) -> None:
        governed = self._governed(index, job)
        if governed is not None and self._sent.get(governed.id) != governed:
            self._retract([governed.id], "the model changed it")
            self._send_job(governed)

    def jobs_retracted(self, indexes: Sequence[int], reason: str) -> None:
        self._retract([job_id(index) for index in indexes], reason)

    def settle(self, jobs: Sequence[Job]) -> None:
        """Make what was sent agree with the plan: retract what differs, send what is missing, in its order."""
        final = {job.id: job for job in jobs}
        self._retract([sent for sent, job in self._sent.items() if final.get(sent) != job], "the plan differs")
        for job in jobs:
            if job.id not in self._sent:
                self._send_job(job)

    def _send_job(self, job: Job) -> None:
        self._sent[job.id] = job
        self._send(job)

    def _retract(self, job_ids: Sequence[str], reason: str) -> None:
        sent = tuple(each for each in job_ids if self._sent.pop(each, None) is not None)
        if sent:
            self._send(JobsRetracted(sent, reason))
