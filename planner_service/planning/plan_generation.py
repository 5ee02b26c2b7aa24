"""A plan from a request in plain words: from the cache or a model, checked, governed, explained. Not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from plangate_core.contract.limits import MAX_OBJECTIVE_CHARACTERS
from plangate_core.process.clock import Clock
from plangate_core.text.truncation import truncate
from planner_service.errors import ModelNotAllowed, PlanningTimedOut
from planner_service.generation.attempts import GenerationReport
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.instructor_client import InstructorClient
from planner_service.generation.prompt.catalogue_text import clipped
from planner_service.generation.prompt.prompts import TEMPLATE_VERSION
from planner_service.generation.providers.recording import noting_exchanges
from planner_service.generation.reply.draft import PlanDraft
from planner_service.generation.request import GenerationRequest
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """All that a plan depends on, besides what models answer: enough to make it again. `streamed`: as it came."""

    request: PlanRequest
    requester: str
    time: datetime
    streamed: bool
    models: tuple[str, ...]
    max_attempts: int
    token_budget: int
    governance: Governance


Record = Callable[[PlanInputs, Plan | Exception, list[str]], None]
"""Records what became of a request, and the ids of the exchanges with models that led to it."""


class PlanGeneration:
    """Makes plans. One per process; one event loop only."""

    def __init__(
        self,
        *,
        governance: GovernanceFiles,
        instructor_client: InstructorClient,
        cache: DraftCache,
        clock: Clock,
        limits: GenerationLimits,
        metrics: PlanningMetrics,
        record: Record | None = None,
    ) -> None:
        self._governance = governance
        self._flights = SingleFlight(instructor_client, metrics)
        self._cache = cache
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._record = record

    async def generate(
        self, request: PlanRequest, *, requester: str, deadline: float, observer: PlanObserver | None = None
    ) -> Plan:
        """A plan, checked and governed, not stored. Raises GenerationFailed, PlanningTimedOut, ModelNotAllowed."""
        inputs = PlanInputs(
            request=request,
            requester=requester,
            time=self._clock.now(),
            streamed=observer is not None,
            models=self._models(request.options.model),
            max_attempts=request.options.max_attempts or self._limits.max_attempts,
            token_budget=request.options.token_budget or self._limits.token_budget,
            governance=self._governance.current,
        )
        if self._record is None:
            return await self._generate(inputs, deadline, observer)
        with noting_exchanges() as exchanges:
            try:
                plan = await self._generate(inputs, deadline, observer)
            except (GenerationFailed, PlanningTimedOut) as failure:
                self._record(inputs, failure, exchanges)
                raise
        self._record(inputs, plan, exchanges)
        return plan

    async def _generate(self, inputs: PlanInputs, deadline: float, observer: PlanObserver | None) -> Plan:
        request, catalogue, policy = inputs.request, inputs.governance.catalogue, inputs.governance.policy
        key = draft_key(
            request.prompt,
            dict(request.context),
            catalogue.digest,
            policy.digest,
            inputs.models,
            TEMPLATE_VERSION,
            self._limits.asked_how,
        )
        drafts = DraftGovernance(request, inputs.governance, inputs.requester, inputs.time)
        job_observer = GovernedJobObserver(observer, drafts.govern_alone) if observer else None
        cached = await self._cache.get(key)
        governed = await drafts.govern(cached.draft) if cached else GovernedDraft()
        if cached and not governed.errors:
            self._metrics.looked_up(hit=True)
            draft = cached.draft
            report = GenerationReport(
                model=cached.model,
                prompt_template_version=cached.prompt_template_version,
                catalogue_digest=catalogue.digest,
                cached=True,
            )
        else:
            self._metrics.looked_up(hit=False)
            wanted = GenerationRequest(
                prompt=request.prompt,
                context=request.context,
                catalogue=catalogue,
                model=inputs.models[0],
                fallback_models=inputs.models[1:],
                max_attempts=inputs.max_attempts,
                token_budget=inputs.token_budget,
                deadline=deadline,
                check=drafts.check,
            )
            # What bounds the effort does not change a right answer, but it does change who may share a wrong one.
            flight_key = f"{key} {inputs.max_attempts} {inputs.token_budget}"
            result = await self._flights.generate(flight_key, wanted, job_observer)
            draft, report = result.draft, result.report
            await self._cache.put(key, CachedDraft(draft, report.model, report.prompt_template_version))
            governed = await drafts.govern(draft)
            assert not governed.errors, "the InstructorClient returns drafts that passed the checks"
        if job_observer:
            job_observer.settle(governed.jobs)
        return _plan(request, draft, governed, replace(report, policy_digest=policy.digest))

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
