"""What planning counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from plangate_core.catalogue.policy_effect import Effect
from planner_service.generation.attempts import GenerationReport
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.request import GenerationObserver, GenerationRequest, GenerationResult
from planner_service.plan import Plan
from planner_service.planning.single_flight import Generates

PLANNED = "PLANNED"
VALIDATED = "VALIDATED"
CANCELLED = "CANCELLED"


class PlanningMetrics:
    """Counters in the process's registry.

    :param reason_of: the contract's reason for an error: one of few, so that no caller can make labels
    """

    def __init__(self, registry: CollectorRegistry, reason_of: Callable[[Exception], str]) -> None:
        self._reason_of = reason_of
        self._plans = Counter(
            "plangate_plans",
            "Plans by how making them ended: PLANNED, VALIDATED (not to be stored), CANCELLED, or the failure's reason",
            ("outcome",),
            registry=registry,
        )
        self._cache = Counter(
            "plangate_draft_cache_lookups", "Looks into the cache of models' answers", ("result",), registry=registry
        )
        self._attempts = Counter(
            "plangate_model_attempts", "Calls to models by how they ended", ("model", "outcome"), registry=registry
        )
        self._tokens = Counter(
            "plangate_model_tokens", "Tokens as providers counted them", ("direction",), registry=registry
        )
        self._seconds = Histogram(
            "plangate_generation_seconds",
            "From the first call to a model to a valid draft",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160),
            registry=registry,
        )
        self._decisions = Counter(
            "plangate_decisions", "Jobs of stored plans by effect", ("effect",), registry=registry
        )
        # Those of every plan, looked up once; and a scraper sees them at 0 from the start.
        self._hits, self._misses = self._cache.labels("hit"), self._cache.labels("miss")
        self._tokens_in, self._tokens_out = self._tokens.labels("input"), self._tokens.labels("output")
        self._planned, self._validated = self._plans.labels(PLANNED), self._plans.labels(VALIDATED)
        self._decided = {effect: self._decisions.labels(effect.value) for effect in Effect}
        self._queue = Counter(
            "plangate_queued_plans", "Claimed plans by how they ended here", ("outcome",), registry=registry
        )

    def cache_hit(self) -> None:
        """An answer was kept."""
        self._hits.inc()

    def cache_miss(self) -> None:
        """A model must be called."""
        self._misses.inc()

    def generated(self, report: GenerationReport, *, valid: bool) -> None:
        """A generation ended, with a valid draft or without."""
        for attempt in report.attempts:
            self._attempts.labels(attempt.model, attempt.outcome.value).inc()
        self._tokens_in.inc(report.input_tokens)
        self._tokens_out.inc(report.output_tokens)
        if valid:
            self._seconds.observe(report.duration_seconds)

    def planned(self, plan: Plan) -> None:
        """A plan was stored."""
        self._planned.inc()
        for job in plan.jobs:
            self._decided[job.decision.effect if job.decision else Effect.DENY].inc()

    def validated(self) -> None:
        """A plan was made that is not to be stored."""
        self._validated.inc()

    def failed(self, error: BaseException) -> None:
        """No plan came of a request."""
        if isinstance(error, asyncio.CancelledError):
            self._plans.labels(CANCELLED).inc()
        elif isinstance(error, Exception):
            self._plans.labels(self._reason_of(error)).inc()

    @contextmanager
    def counting_failures(self) -> Iterator[None]:
        """Counts whatever keeps a plan from being made."""
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise

    def queued_plan(self, outcome: str) -> None:
        """How a claimed plan ended: "completed", "failed", "put back", "given back", "lost" to another planner."""
        self._queue.labels(outcome).inc()


class CountedGeneration:
    """A generator whose generations are counted: each once, however many callers share it."""

    def __init__(self, generator: Generates, metrics: PlanningMetrics) -> None:
        self._generator = generator
        self._metrics = metrics

    async def generate(
        self, request: GenerationRequest, observer: GenerationObserver | None = None
    ) -> GenerationResult:
        """As the generator does."""
        try:
            result = await self._generator.generate(request, observer)
        except GenerationFailed as failure:
            if failure.report is not None:
                self._metrics.generated(failure.report, valid=False)
            raise
        self._metrics.generated(result.report, valid=True)
        return result
