"""The InstructorClient's request, result and observer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.attempts import Attempt, Finding, GenerationReport
from planner_service.generation.reply.draft import JobDraft, PlanDraft


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """A request to the InstructorClient.

    model: provider string, for example ``openai/gpt-4o`` or ``embedded``; fallback_models follow it on outage and on
    repeated invalid output. token_budget: input plus output tokens over all attempts; 0 means no limit. deadline: on
    the event loop's clock (``loop.time()``), None means no limit. check: errors of meaning in a well-formed draft,
    empty when there are none; they count as an invalid reply and are fed back.
    """

    prompt: str
    context: Mapping[str, Any]
    catalogue: Catalogue
    model: str
    fallback_models: Sequence[str] = ()
    max_attempts: int
    token_budget: int = 0
    deadline: float | None = None
    check: Callable[[PlanDraft], Sequence[Finding]]


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationResult:
    """A valid draft and how it came to be."""

    draft: PlanDraft
    report: GenerationReport


class GenerationObserver(Protocol):
    """Hears of a generation as it goes. Methods are called on the event loop and must not block or raise."""

    def attempt_started(self, number: int, model: str) -> None:
        """A call to the model begins."""

    def attempt_finished(self, attempt: Attempt) -> None:
        """A call to the model ended, well or not."""

    def job(self, job: JobDraft, index: int) -> None:
        """A job is complete in the reply: well-formed, its meaning not yet checked. index counts the plan's jobs.

        A job may be reported and retracted repeatedly; the last report is what the plan holds.
        """

    def jobs_retracted(self, indexes: Sequence[int], reason: str) -> None:
        """Jobs given before will not be in the plan as they were."""
