"""The use cases: generate, check, govern, commit. Knows neither gRPC nor any provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner_service.attempt_error import AttemptError
from planner_service.checks import check_args, check_jobs, job_of_draft, jobs_of_draft
from planner_service.clock import Clock
from planner_service.completeness import description_of, evidence_for, warnings_for
from planner_service.decision import Effect
from planner_service.draft_cache import CachedDraft, DraftCache, draft_key
from planner_service.errors import JobsInvalid, ModelNotAllowed, PolicyDenied, RequestIdReused, TooManyPlans
from planner_service.generation.attempts import GenerationReport
from planner_service.generation.draft import JobDraft, PlanDraft
from planner_service.generation.request import GenerationObserver, GenerationRequest
from planner_service.governance import Governance, GovernanceFiles
from planner_service.plan import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_OBJECTIVE_CHARACTERS,
    Job,
    Plan,
    PlanRequest,
    Proposal,
    StoredPlan,
)
from planner_service.plan_store import FirstAnswer, PlanStore, Queueing, Revision
from planner_service.planning_metrics import PlanningMetrics
from planner_service.policy import most_severe
from planner_service.repeats import asks_the_same, identified, revises_the_same, says_the_same
from planner_service.single_flight import SingleFlight
from planner_service.streaming import PlanObserver, Told


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What checks and policy say of jobs. `jobs` is empty when there are errors."""

    jobs: tuple[Job, ...]
    errors: tuple[AttemptError, ...]
    governance: Governance


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningLimits:
    """What the settings say of generating plans. `models`: the default one, then its fallbacks."""

    models: tuple[str, ...]
    allowed_models: frozenset[str]
    max_attempts: int
    token_budget: int
    max_plans_in_flight: int


class Planning:
    """All the planner does with plans. One per process; one event loop only."""

    def __init__(
        self,
        *,
        governance: GovernanceFiles,
        flights: SingleFlight,
        cache: DraftCache,
        store: PlanStore,
        clock: Clock,
        limits: PlanningLimits,
        metrics: PlanningMetrics,
        prompt_template_version: str,
    ) -> None:
        self._governance = governance
        self._flights = flights
        self._cache = cache
        self._store = store
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._template = prompt_template_version
        self._in_flight = 0

    @property
    def governance(self) -> Governance:
        """What is in force now."""
        return self._governance.current

    async def create(
        self,
        request: PlanRequest,
        *,
        requester: str,
        request_id: str,
        validate_only: bool,
        deadline: float,
        observer: PlanObserver | None = None,
    ) -> StoredPlan | Plan:
        """Prompt in, governed plan out: stored, or as it is with `validate_only`.

        Raises PlanningRefused and GenerationFailed in their kinds.
        """

        def same(first: FirstAnswer) -> bool:
            plan = first.plan
            return plan is not None and not first.queued and asks_the_same(plan, request)

        self.check_model(request.options.model)
        if not validate_only and (earlier := await self._earlier(request_id, requester, same, deadline)):
            return earlier
        if self._in_flight >= self._limits.max_plans_in_flight:
            raise TooManyPlans(self._limits.max_plans_in_flight)
        self._in_flight += 1
        try:
            plan = await self.generate(
                request, requester=requester, deadline=generation_deadline(deadline), observer=observer
            )
        finally:
            self._in_flight -= 1
        if validate_only:
            return plan
        return await self._commit(plan, requester, request_id, same, deadline)

    async def generate(
        self, request: PlanRequest, *, requester: str, deadline: float, observer: PlanObserver | None = None
    ) -> Plan:
        """A plan, checked and governed, not stored. Raises GenerationFailed, PlanningTimedOut, ModelNotAllowed."""
        governance = self._governance.current
        now = self._clock.now()
        models = self._models(request.options.model)
        key = draft_key(
            prompt=request.prompt,
            context=request.context,
            catalogue_digest=governance.catalogue.digest,
            policy_digest=governance.policy.digest,
            models=models,
            prompt_template_version=self._template,
        )

        def governed(jobs: Iterable[Job]) -> tuple[Job, ...]:
            explained = (_explained(job, request.prompt, governance) for job in jobs)
            return governance.govern(explained, request.labels, requester, now)

        def finished(draft: PlanDraft) -> tuple[tuple[Job, ...], list[AttemptError]]:
            jobs, errors = check_jobs(jobs_of_draft(draft), governance.catalogue)
            return (() if errors else governed(jobs)), errors

        def alone(index: int, draft: JobDraft) -> Job | None:
            job = job_of_draft(index, draft)
            args, errors = check_args(job.action_name, job.action_args, governance.catalogue)
            return None if errors else governed([replace(job, action_args=args)])[0]

        told = Told(observer, alone) if observer else None
        cached = await self._cache.get(key)
        jobs, errors = finished(cached.draft) if cached else ((), [])
        if cached and not errors:
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
            draft, report = await self._ask(key, request, models, governance, deadline, told)
            jobs, errors = finished(draft)
            assert not errors, "the generator returns drafts that passed the checks"
        if told:
            told.settle(jobs)
        return Plan(
            objective=_objective(draft.objective, request.prompt),
            prompt=request.prompt,
            jobs=jobs,
            context=request.context,
            labels=request.labels,
            options=request.options,
            report=replace(report, policy_digest=governance.policy.digest),
            no_action_reason="" if jobs else _clean(draft.no_action_reason or "the model named no action"),
            warnings=_warnings(request.prompt, jobs, draft.no_action_reason),
        )

    async def _ask(
        self,
        key: str,
        request: PlanRequest,
        models: tuple[str, ...],
        governance: Governance,
        deadline: float,
        observer: GenerationObserver | None,
    ) -> tuple[PlanDraft, GenerationReport]:
        options = request.options
        asked = GenerationRequest(
            prompt=request.prompt,
            context=request.context,
            catalogue=governance.catalogue,
            model=models[0],
            fallback_models=models[1:],
            max_attempts=options.max_attempts or self._limits.max_attempts,
            token_budget=options.token_budget or self._limits.token_budget,
            deadline=deadline,
            check=lambda draft: check_jobs(jobs_of_draft(draft), governance.catalogue)[1],
        )
        # What bounds the effort does not change a right answer, but it does change who may share a wrong one.
        flight_key = f"{key} {asked.max_attempts} {asked.token_budget}"
        result = await self._flights.generate(flight_key, asked, observer)
        report = result.report
        await self._cache.put(key, CachedDraft(result.draft, report.model, report.prompt_template_version))
        self._metrics.generated(report)
        return result.draft, report

    async def enqueue(
        self,
        request: PlanRequest,
        queue: Queueing,
        *,
        requester: str,
        request_id: str,
        validate_only: bool,
        deadline: float,
    ) -> StoredPlan | None:
        """Store a request for later; None with `validate_only`."""

        def same(first: FirstAnswer) -> bool:
            queued = Queueing(first.priority, first.max_planning_attempts)
            same_queue = queued.priority == queue.priority and (
                not queue.max_planning_attempts or queued.max_planning_attempts == queue.max_planning_attempts
            )
            return first.plan is not None and first.queued and same_queue and asks_the_same(first.plan, request)

        self.check_model(request.options.model)
        if validate_only:
            return None
        if earlier := await self._earlier(request_id, requester, same, deadline):
            return earlier
        return await self._replaying(
            self._store.enqueue_plan(request, queue, requester=requester, request_id=request_id, deadline=deadline),
            request_id,
            requester,
            same,
            deadline,
        )

    def evaluate(self, jobs: Sequence[Job], labels: Mapping[str, str], requester: str) -> Evaluation:
        """What checks and policy say of jobs that somebody brings. Nothing is stored."""
        governance = self._governance.current
        complete, errors = check_jobs(identified(jobs), governance.catalogue)
        if errors:
            return Evaluation((), tuple(errors), governance)
        return Evaluation(governance.govern(complete, labels, requester, self._clock.now()), (), governance)

    async def submit(
        self, plan: Plan, *, requester: str, request_id: str, validate_only: bool, deadline: float
    ) -> StoredPlan | Plan:
        """Store a plan that somebody brings, checked and governed. Raises JobsInvalid."""

        def same(first: FirstAnswer) -> bool:
            return first.plan is not None and not first.queued and says_the_same(first.plan, plan)

        if not validate_only and (earlier := await self._earlier(request_id, requester, same, deadline)):
            return earlier
        evaluation = self.evaluate(plan.jobs, plan.labels, requester)
        if evaluation.errors:
            raise JobsInvalid(evaluation.errors)
        catalogue = evaluation.governance.catalogue
        governed = replace(
            plan,
            jobs=tuple(
                job if job.description else replace(job, description=_clean(description_of(job, catalogue)))
                for job in evaluation.jobs
            ),
            report=GenerationReport(
                model="",
                prompt_template_version="",
                catalogue_digest=catalogue.digest,
                policy_digest=evaluation.governance.policy.digest,
            ),
        )
        if validate_only:
            return governed
        return await self._commit(governed, requester, request_id, same, deadline)

    async def revise(self, revision: Revision, *, requester: str, deadline: float) -> Proposal:
        """Edit a proposal: its arguments are checked and governed again. Raises JobsInvalid, PolicyDenied.

        Policy is asked about the one who wanted the proposal and about the one who edits it, and both answers count.
        """
        if revision.request_id and not revision.validate_only:
            earlier = await self._store.first_revision(revision.request_id, deadline)
            if earlier is not None:
                if earlier.updated_by != requester or not revises_the_same(earlier, revision):
                    raise RequestIdReused(revision.request_id)
                return earlier
        proposal = await self._store.get_proposal(revision.proposal_id, deadline)
        governance = self._governance.current
        wanted = proposal.action_args if revision.action_args is None else revision.action_args
        args, errors = check_args(proposal.action_name, wanted, governance.catalogue)
        if errors:
            raise JobsInvalid(errors)
        now = self._clock.now()
        job = Job(id=proposal.id, action_name=proposal.action_name, action_args=args)
        decision = most_severe(
            [
                governance.decide(job, proposal.labels, identity, now)
                for identity in dict.fromkeys((proposal.created_by, requester))
            ]
        )
        if decision.effect is Effect.DENY:
            raise PolicyDenied(decision)
        changed = replace(revision, action_args=args if revision.action_args is not None else None)
        return await self._store.update_proposal(changed, decision, requester=requester, now=now, deadline=deadline)

    def check_model(self, model: str) -> None:
        """Raises ModelNotAllowed."""
        if model and model not in self._limits.allowed_models:
            raise ModelNotAllowed(model)

    def _models(self, asked: str) -> tuple[str, ...]:
        self.check_model(asked)
        fallbacks = tuple(model for model in self._limits.models[1:] if model != asked)
        return (asked, *fallbacks) if asked else self._limits.models

    async def _earlier(
        self, request_id: str, requester: str, same: Callable[[FirstAnswer], bool], deadline: float
    ) -> StoredPlan | None:
        """What an earlier call with this request_id stored, so that a repeat neither plans nor stores again.

        The store replays too, but only what is identical, and a model may answer differently the second time.
        Raises RequestIdReused when that call said something else.
        """
        if not request_id:
            return None
        first = await self._store.first_answer(request_id, deadline)
        if first is None:
            return None
        if first.stored is None or first.stored.created_by != requester or not same(first):
            raise RequestIdReused(request_id)
        return first.stored

    async def _commit(
        self, plan: Plan, requester: str, request_id: str, same: Callable[[FirstAnswer], bool], deadline: float
    ) -> StoredPlan:
        stored = await self._replaying(
            self._store.create_plan(plan, requester=requester, request_id=request_id, deadline=deadline),
            request_id,
            requester,
            same,
            deadline,
        )
        self._metrics.planned(plan)
        return stored

    async def _replaying(
        self,
        call: Awaitable[StoredPlan],
        request_id: str,
        requester: str,
        same: Callable[[FirstAnswer], bool],
        deadline: float,
    ) -> StoredPlan:
        """The call's answer, or that of a twin which stored its own first, between our looking and our writing."""
        try:
            return await call
        except RequestIdReused:
            if earlier := await self._earlier(request_id, requester, same, deadline):
                return earlier
            raise


def generation_deadline(deadline: float) -> float:
    """When a generation must end so that its plan can still be committed, or its report still be told."""
    remaining = deadline - asyncio.get_running_loop().time()
    return deadline - min(2.0, 0.1 * max(0.0, remaining))


def _explained(job: Job, prompt: str, governance: Governance) -> Job:
    return replace(
        job,
        description=_clean(description_of(job, governance.catalogue)),
        evidence=_clean(evidence_for(job, prompt)),
    )


def _objective(objective: str, prompt: str) -> str:
    text = _clean(objective) or _clean(prompt)
    return text if len(text) <= MAX_OBJECTIVE_CHARACTERS else text[: MAX_OBJECTIVE_CHARACTERS - 1] + "…"


def _warnings(prompt: str, jobs: Sequence[Job], no_action_reason: str) -> tuple[str, ...]:
    warnings = warnings_for(prompt, jobs)
    if jobs and no_action_reason:
        # The model found actions for a part of the request only.
        warnings += (_clean(f"a part of the request fits no action: {no_action_reason}"),)
    return warnings


def _clean(text: str) -> str:
    """A model's words, fit to be stored: whole characters, no control characters, not too long."""
    kept = text.strip()
    if not kept.isprintable():
        # Halves of surrogate pairs are not printable either.
        kept = "".join(character for character in kept if character.isprintable() or character in "\n\t").strip()
    return kept if len(kept) <= MAX_DESCRIPTION_CHARACTERS else kept[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"
