"""A plan from a request in plain words: from the cache or a model, checked, governed, explained. Not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from plangate_core.catalogue.finding import Finding
from plangate_core.contract.limits import MAX_OBJECTIVE_CHARACTERS
from plangate_core.process.clock import Clock
from plangate_core.text.truncation import truncate
from planner_service.errors import ModelNotAllowed, PlanningTimedOut
from planner_service.generation.attempts import GenerationReport
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.prompt.catalogue_text import clipped
from planner_service.generation.providers.recording import noting_exchanges
from planner_service.generation.reply.draft import PlanDraft
from planner_service.generation.request import GenerationObserver, GenerationRequest
from planner_service.governance.files import GovernanceFiles
from planner_service.governance.governance import Governance
from planner_service.plan import Plan, PlanRequest
from planner_service.planning.checking.draft_governance import DraftGovernance, GovernedDraft, clean_text
from planner_service.planning.draft_cache import CachedDraft, DraftCache, draft_key
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.observer import GovernedJobObserver, PlanObserver
from planner_service.planning.single_flight import SingleFlight

# How much of a prompt is the objective, where the model states none.
_OBJECTIVE_OF_PROMPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationLimits:
    """What the settings say of generating plans. `models`: the default one, then its fallbacks.

    asked_how: all else that a model's answer depends on: its server, mode, weights, temperature and the like.
    """

    models: tuple[str, ...]
    allowed_models: frozenset[str]
    max_attempts: int
    token_budget: int
    asked_how: tuple[str, ...] = ()


class PlanRecorder(Protocol):
    """Records what becomes of requests, so that their plans can be made again."""

    def write(
        self,
        request: PlanRequest,
        outcome: Plan | Exception,
        *,
        requester: str,
        time: datetime,
        streamed: bool,
        models: tuple[str, ...],
        max_attempts: int,
        token_budget: int,
        prompt_template_version: str,
        catalogue_digest: str,
        policy_digest: str,
        exchanges: list[str],
    ) -> None:
        """Append one request and what came of it."""


class PlanGeneration:
    """Makes plans. One per process; one event loop only."""

    def __init__(
        self,
        *,
        governance: GovernanceFiles,
        flights: SingleFlight,
        cache: DraftCache,
        clock: Clock,
        limits: GenerationLimits,
        metrics: PlanningMetrics,
        prompt_template_version: str,
        recorder: PlanRecorder | None = None,
    ) -> None:
        self._governance = governance
        self._flights = flights
        self._cache = cache
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._template = prompt_template_version
        self._recorder = recorder

    async def generate(
        self, request: PlanRequest, *, requester: str, deadline: float, observer: PlanObserver | None = None
    ) -> Plan:
        """A plan, checked and governed, not stored. Raises GenerationFailed, PlanningTimedOut, ModelNotAllowed."""
        governance = self._governance.current
        now = self._clock.now()
        if self._recorder is None:
            return await self._generate(request, governance, now, requester, deadline, observer)
        with noting_exchanges() as exchanges:
            try:
                outcome = await self._generate(request, governance, now, requester, deadline, observer)
            except (GenerationFailed, PlanningTimedOut) as failure:
                self._record(request, failure, governance, now, requester, observer, exchanges)
                raise
        self._record(request, outcome, governance, now, requester, observer, exchanges)
        return outcome

    def _record(
        self,
        request: PlanRequest,
        outcome: Plan | Exception,
        governance: Governance,
        now: datetime,
        requester: str,
        observer: PlanObserver | None,
        exchanges: list[str],
    ) -> None:
        assert self._recorder is not None
        self._recorder.write(
            request,
            outcome,
            requester=requester,
            time=now,
            streamed=observer is not None,
            models=self._models(request.options.model),
            max_attempts=request.options.max_attempts or self._limits.max_attempts,
            token_budget=request.options.token_budget or self._limits.token_budget,
            prompt_template_version=self._template,
            catalogue_digest=governance.catalogue.digest,
            policy_digest=governance.policy.digest,
            exchanges=exchanges,
        )

    async def _generate(
        self,
        request: PlanRequest,
        governance: Governance,
        now: datetime,
        requester: str,
        deadline: float,
        observer: PlanObserver | None,
    ) -> Plan:
        models = self._models(request.options.model)
        key = draft_key(
            prompt=request.prompt,
            context=request.context,
            catalogue_digest=governance.catalogue.digest,
            policy_digest=governance.policy.digest,
            models=models,
            prompt_template_version=self._template,
            asked_how=self._limits.asked_how,
        )

        drafts = DraftGovernance(request, governance, requester, now)
        job_observer = GovernedJobObserver(observer, drafts.govern_alone) if observer else None
        cached = await self._cache.get(key)
        governed = await drafts.govern(cached.draft) if cached else GovernedDraft()
        if cached and not governed.errors:
            self._metrics.cache_hit()
            draft = cached.draft
            report = GenerationReport(
                model=cached.model,
                prompt_template_version=cached.prompt_template_version,
                catalogue_digest=governance.catalogue.digest,
                cached=True,
            )
        else:
            self._metrics.cache_miss()
            draft, report = await self._ask(key, request, models, governance, drafts.check, deadline, job_observer)
            governed = await drafts.govern(draft)
            assert not governed.errors, "the generator returns drafts that passed the checks"
        if job_observer:
            job_observer.settle(governed.jobs)
        return _plan(request, draft, governed, replace(report, policy_digest=governance.policy.digest))

    async def _ask(
        self,
        key: str,
        request: PlanRequest,
        models: tuple[str, ...],
        governance: Governance,
        check: Callable[[PlanDraft], list[Finding]],
        deadline: float,
        observer: GenerationObserver | None,
    ) -> tuple[PlanDraft, GenerationReport]:
        options = request.options
        wanted = GenerationRequest(
            prompt=request.prompt,
            context=request.context,
            catalogue=governance.catalogue,
            model=models[0],
            fallback_models=models[1:],
            max_attempts=options.max_attempts or self._limits.max_attempts,
            token_budget=options.token_budget or self._limits.token_budget,
            deadline=deadline,
            check=check,
        )
        # What bounds the effort does not change a right answer, but it does change who may share a wrong one.
        flight_key = f"{key} {wanted.max_attempts} {wanted.token_budget}"
        result = await self._flights.generate(flight_key, wanted, observer)
        report = result.report
        await self._cache.put(key, CachedDraft(result.draft, report.model, report.prompt_template_version))
        return result.draft, report

    def check_model(self, model: str) -> None:
        """Raises ModelNotAllowed."""
        if model and model not in self._limits.allowed_models:
            raise ModelNotAllowed(model)

    def _models(self, requested: str) -> tuple[str, ...]:
        self.check_model(requested)
        fallbacks = tuple(model for model in self._limits.models[1:] if model != requested)
        return (requested, *fallbacks) if requested else self._limits.models


def generation_deadline(deadline: float) -> float:
    """When a generation must end so that its plan can still be committed, or its report returned."""
    remaining = deadline - asyncio.get_running_loop().time()
    return deadline - min(2.0, 0.1 * max(0.0, remaining))


def _plan(request: PlanRequest, draft: PlanDraft, governed: GovernedDraft, report: GenerationReport) -> Plan:
    jobs = governed.jobs
    warnings = governed.doubts.warnings
    if jobs and draft.no_action_reason:
        # The model found actions for a part of the request only.
        warnings += (f"a part of the request fits no action: {draft.no_action_reason}",)
    return Plan(
        objective=_objective(draft.objective, request.prompt),
        prompt=request.prompt,
        jobs=jobs,
        context=request.context,
        labels=request.labels,
        options=request.options,
        report=report,
        no_action_reason="" if jobs else clean_text(draft.no_action_reason or "the model named no action"),
        warnings=tuple(map(clean_text, warnings)),
    )


def _objective(objective: str, prompt: str) -> str:
    text = clean_text(objective) or clipped(clean_text(prompt), _OBJECTIVE_OF_PROMPT_CHARACTERS)
    return truncate(text, MAX_OBJECTIVE_CHARACTERS)
