"""The use cases: what the service does for those who call it. Knows neither gRPC nor any provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.policy_effect import Effect, StepOrder
from plangate_core.contract.scopes import Scope
from plangate_core.process.clock import Clock
from planner_service.errors import (
    JobsInvalid,
    PolicyDenied,
    ProposalNotFound,
    RequestIdReused,
    RoleMissing,
    TooMany,
)
from planner_service.generation.attempts import GenerationReport
from planner_service.governance.files import GovernanceFiles
from planner_service.governance.governance import Governance
from planner_service.governance.policy import most_severe
from planner_service.plan import (
    FirstAnswer,
    Job,
    Plan,
    PlanRequest,
    Proposal,
    Queueing,
    Revision,
    StoredPlan,
    with_decisions,
)
from planner_service.planning.checking.assumptions import filled_in
from planner_service.planning.checking.checks import check_args, check_jobs
from planner_service.planning.checking.draft_governance import described
from planner_service.planning.checking.facts import facts_for, with_facts
from planner_service.planning.checking.ties import all_tied
from planner_service.planning.idempotency import asks_the_same, identified, revises_the_same, says_the_same
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.observer import PlanObserver
from planner_service.planning.plan_generation import PlanGeneration, generation_deadline
from planner_service.store_gateway import StoreGateway


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What checks and policy say of jobs. `jobs` is empty when there are errors."""

    jobs: tuple[Job, ...]
    errors: tuple[Finding, ...]
    governance: Governance


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that stores something. `repeats`: whether the first answer under its request_id is to the same call."""

    requester: str
    request_id: str
    deadline: float
    repeats: Callable[[FirstAnswer], bool]


class Planning:
    """All the planner does with plans. One per process; one event loop only."""

    def __init__(
        self,
        *,
        governance: GovernanceFiles,
        generation: PlanGeneration,
        store: StoreGateway,
        clock: Clock,
        metrics: PlanningMetrics,
        max_plans_in_flight: int,
    ) -> None:
        self._governance = governance
        self._generation = generation
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._max_in_flight = max_plans_in_flight
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
        is_new: bool = False,
        observer: PlanObserver | None = None,
    ) -> StoredPlan | Plan:
        """Prompt in, governed plan out: stored, or as it is with `validate_only`.

        is_new: the caller states that the request_id is new, so the model is called at once. If it is not new, the
        answer is the earlier one all the same, and the call to the model was in vain.

        Raises PlanningRefused and GenerationFailed in their kinds.
        """
        call = _Call(requester, request_id, deadline, partial(asks_the_same, request=request))
        with self._metrics.counting_failures():
            self._generation.check_model(request.options.model)
            look_back = not (validate_only or is_new)
            if look_back and (earlier := await self._earlier(call)):
                return earlier
            if self._in_flight >= self._max_in_flight:
                raise TooMany("plans", self._max_in_flight, retry_after_seconds=1.0)
            self._in_flight += 1
            try:
                plan = await self._generation.generate(
                    request, requester=requester, deadline=generation_deadline(deadline), observer=observer
                )
            finally:
                self._in_flight -= 1
            if validate_only:
                self._metrics.validated()
                return plan
            return await self._commit(plan, call)

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
        call = _Call(requester, request_id, deadline, partial(asks_the_same, request=request, queue=queue))
        self._generation.check_model(request.options.model)
        if validate_only:
            return None
        if earlier := await self._earlier(call):
            return earlier
        stored = self._store.enqueue_plan(request, queue, requester=requester, request_id=request_id, deadline=deadline)
        return await self._replaying(stored, call)

    async def evaluate(
        self, jobs: Sequence[Job], labels: Mapping[str, str], requester: str, order: StepOrder | None = None
    ) -> Evaluation:
        """What checks and policy say of jobs that somebody brings. Nothing is stored."""
        governance = self._governance.current
        complete, errors = check_jobs(identified(jobs), governance.catalogue)
        if errors:
            return Evaluation((), tuple(errors), governance)
        now = self._clock.now()
        decisions = await governance.decide_all(complete, labels, requester, now)
        decided = with_facts(with_decisions(complete, decisions), governance, labels, requester, now)
        # Jobs that a client brings wait for those that they name, and for no others unless the request sets an order.
        governed = all_tied(decided, governance.catalogue, order or StepOrder.INDEPENDENT)
        return Evaluation(governed, (), governance)

    async def submit(
        self, plan: Plan, *, requester: str, request_id: str, validate_only: bool, deadline: float
    ) -> StoredPlan | Plan:
        """Store a plan that somebody brings, checked and governed. Raises JobsInvalid."""
        call = _Call(requester, request_id, deadline, partial(says_the_same, brought=plan))
        with self._metrics.counting_failures():
            if not validate_only and (earlier := await self._earlier(call)):
                return earlier
            evaluation = await self.evaluate(plan.jobs, plan.labels, requester, plan.options.order)
            if evaluation.errors:
                raise JobsInvalid(evaluation.errors)
            catalogue = evaluation.governance.catalogue
            governed = replace(
                plan,
                jobs=tuple(
                    job if job.description else replace(job, description=described(job, evaluation.governance))
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
                self._metrics.validated()
                return governed
            return await self._commit(governed, call)

    async def _readable(self, proposal_id: str, requester: str, scope: Scope, deadline: float) -> Proposal:
        """A proposal that the requester may read. Raises ProposalNotFound, or the client's."""
        proposal = await self._store.get_proposal(proposal_id, deadline)
        if not scope.may_read(
            requester, created_by=proposal.created_by, labels=proposal.labels, action_name=proposal.action_name
        ):
            raise ProposalNotFound(proposal.id)
        return proposal

    async def revise(
        self, revision: Revision, *, requester: str, scope: Scope, unless_creator: RoleMissing | None, deadline: float
    ) -> Proposal:
        """Edit a proposal: new arguments are checked and decided again. Raises ProposalNotFound, JobsInvalid,
        PolicyDenied.

        scope: what the requester may read.
        unless_creator: raised unless the requester created the proposal; None when the requester's roles suffice.

        Policy decides for the proposal's creator and for the one who edits it, and both decisions count. Where the
        action has left the catalogue, the description and the priority can be edited, and the decision stays.
        """
        if revision.request_id and not revision.validate_only:
            earlier = await self._store.first_revision(revision.request_id, requester, deadline)
            if earlier is not None:
                if not revises_the_same(earlier, revision):
                    raise RequestIdReused(revision.request_id)
                return earlier
        proposal = await self._readable(revision.proposal_id, requester, scope, deadline)
        if scope.reads is not None:
            for needed in revision.depends_on or ():
                await self._readable(needed, requester, scope, deadline)
        if unless_creator is not None and requester != proposal.created_by:
            raise unless_creator
        governance = self._governance.current
        action = governance.catalogue.find(proposal.action_name)
        now, given, args = self._clock.now(), revision.action_args, proposal.action_args
        changed, decision = revision, None
        if given is not None:
            if given != args:
                args, errors = check_args(proposal.action_name, given, governance.catalogue)
                if errors:
                    raise JobsInvalid(errors)
            effect_key = None if action is None else action.effect_of(args)
            changed = replace(changed, action_args=args, assumed=filled_in(given, args), effect_key=effect_key)
        if action is not None:
            before = Job(
                id=proposal.id,
                action_name=proposal.action_name,
                action_args=proposal.action_args,
                assumed=proposal.assumed,
            )
            job = before if changed.assumed is None else replace(before, action_args=args, assumed=changed.assumed)
            made_of_args = proposal.description == described(before, governance)
            if args != before.action_args and revision.description is None and made_of_args:
                changed = replace(changed, description=described(job, governance))
            writers = [*dict.fromkeys((proposal.created_by, requester))]
            decision = most_severe([governance.decide(job, proposal.labels, identity, now) for identity in writers])
            if decision.effect is Effect.DENY:
                raise PolicyDenied(decision)
            if given is not None:
                changed = replace(changed, facts=facts_for(job, governance, proposal.labels, writers, now))
        return await self._store.update_proposal(changed, decision, requester=requester, now=now, deadline=deadline)

    async def _earlier(self, call: _Call) -> StoredPlan | None:
        """What an earlier call with this request_id stored, so that a repeat neither plans nor stores again.

        The store replays too, but only what is identical, and a model may answer differently the second time.
        Raises RequestIdReused when that call had other content.
        """
        if not call.request_id:
            return None
        first = await self._store.first_answer(call.request_id, call.requester, call.deadline)
        if first is None:
            return None
        if not call.repeats(first):
            raise RequestIdReused(call.request_id)
        return first.stored

    async def _commit(self, plan: Plan, call: _Call) -> StoredPlan:
        stored = await self._replaying(
            self._store.create_plan(plan, requester=call.requester, request_id=call.request_id, deadline=call.deadline),
            call,
        )
        self._metrics.planned(plan)
        return stored

    async def _replaying(self, storing: Awaitable[StoredPlan], call: _Call) -> StoredPlan:
        """What is stored, or what a concurrent call with the same request_id stored first."""
        try:
            return await storing
        except RequestIdReused:
            if earlier := await self._earlier(call):
                return earlier
            raise
