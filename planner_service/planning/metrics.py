"""What planning counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from plangate_core.catalogue.policy_effect import Effect
from planner_service.generation.attempts import GenerationReport
from planner_service.plan import Plan

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
        # A scraper sees them at 0 from the start: an increase from nothing is none.
        for counter, labels in (
            (self._plans, (PLANNED, VALIDATED)),
            (self._cache, ("hit", "miss")),
            (self._tokens, ("input", "output")),
            (self._decisions, [effect.value for effect in Effect]),
        ):
            for label in labels:
                counter.labels(label)
        self._queue = Counter(
            "plangate_queued_plans", "Claimed plans by how they ended here", ("outcome",), registry=registry
        )

    def looked_up(self, *, hit: bool) -> None:
        """The cache had an answer, or a model must be called."""
        self._cache.labels("hit" if hit else "miss").inc()

    def generated(self, report: GenerationReport, *, valid: bool) -> None:
        """A generation ended, with a valid draft or without."""
        for attempt in report.attempts:
            self._attempts.labels(attempt.model, attempt.outcome.value).inc()
        self._tokens.labels("input").inc(report.input_tokens)
        self._tokens.labels("output").inc(report.output_tokens)
        if valid:
            self._seconds.observe(report.duration_seconds)

    def planned(self, plan: Plan) -> None:
        """A plan was stored."""
        self._plans.labels(PLANNED).inc()
        for job in plan.jobs:
            effect = job.decision.effect if job.decision else Effect.DENY
            self._decisions.labels(effect.value).inc()

    def validated(self) -> None:
        """A plan was made that is not to be stored."""
        self._plans.labels(VALIDATED).inc()

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
