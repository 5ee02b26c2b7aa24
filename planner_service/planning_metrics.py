"""What planning counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from planner_service.decision import Effect
from planner_service.generation.attempts import GenerationReport
from planner_service.plan import Plan


class PlanningMetrics:
    """Counters in the process's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cache = Counter(
            "plangate_draft_cache_lookups", "Looks into the cache of models' answers", ("result",), registry=registry
        )
        self._attempts = Counter(
            "plangate_model_attempts",
            "Calls to models of plans that succeeded",
            ("model", "outcome"),
            registry=registry,
        )
        self._tokens = Counter(
            "plangate_model_tokens", "Tokens of plans that succeeded", ("direction",), registry=registry
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
        self._queue = Counter(
            "plangate_queued_plans", "Claimed plans by how they ended here", ("outcome",), registry=registry
        )

    def cache_hit(self) -> None:
        """An answer was kept."""
        self._cache.labels("hit").inc()

    def cache_miss(self) -> None:
        """A model must be asked."""
        self._cache.labels("miss").inc()

    def generated(self, report: GenerationReport) -> None:
        """A model gave a valid draft."""
        for attempt in report.attempts:
            self._attempts.labels(attempt.model, attempt.outcome.value).inc()
        self._tokens.labels("input").inc(report.input_tokens)
        self._tokens.labels("output").inc(report.output_tokens)
        self._seconds.observe(report.duration_seconds)

    def planned(self, plan: Plan) -> None:
        """A plan was stored."""
        for job in plan.jobs:
            self._decisions.labels((job.decision.effect if job.decision else Effect.DENY).value).inc()

    def queued_plan(self, outcome: str) -> None:
        """A claimed plan was completed, failed, or lost to another planner."""
        self._queue.labels(outcome).inc()
