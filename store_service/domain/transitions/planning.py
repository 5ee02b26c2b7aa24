"""A plan from the queue to its proposals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.errors import IllegalTransition
from store_service.domain.events import EventKind
from store_service.domain.instant import Instant, Micros
from store_service.domain.lease import Failure
from store_service.domain.lifecycle import PLAN_LIFECYCLE, PlanCommand
from store_service.domain.plan import GeneratedPlan, Job, Plan, PlanDraft, PlanState
from store_service.domain.proposal import Decision, Effect, Notice, OnRefusal, Proposal, ProposalState, Step
from store_service.domain.rules import Rules
from store_service.domain.transitions.dependencies import (
    denied_failure,
    notice_of,
    same_effect_notice,
    unreachable_failure,
)
from store_service.domain.transitions.facts import with_fetches
from store_service.domain.transitions.review import attributed

_STEP = tuple(field.name for field in fields(Step))


def create(plan_id: str, draft: PlanDraft, actor: Actor, now: Instant, rules: Rules) -> tuple[Plan, EventKind]:
    """PLANNED or QUEUED, as the draft says; its jobs have no proposals yet."""
    plan = Plan.of(**vars(draft)).evolve(
        id=plan_id,
        created_by=actor.identity,
        updated_by=actor.identity,
        create_time=now,
        update_time=now,
        max_attempts=draft.max_attempts or rules.plan_max_attempts,
    )
    return plan, EventKind.PLAN_CREATED


def claim(plan: Plan, planner: Actor, now: Instant, duration: Micros) -> tuple[Plan, EventKind]:
    """PLANNING, under a lease with the next attempt as its token."""
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.CLAIM)
    return plan.leased_to(planner, now, duration, state=PlanState.PLANNING), EventKind.PLAN_CLAIMED


def renew(plan: Plan, planner: Actor, attempt: int, now: Instant, duration: Micros) -> tuple[Plan, EventKind]:
    """With the lease prolonged."""
    plan.held(planner, attempt)
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.RENEW)
    return plan.renewed(planner, attempt, now, duration), EventKind.PLAN_LEASE_RENEWED


def complete(
    plan: Plan, planner: Actor, attempt: int, now: Instant, generated: GeneratedPlan
) -> tuple[Plan, EventKind]:
    """PLANNED with what was generated; its jobs have no proposals yet."""
    plan.held(planner, attempt)
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.COMPLETE)
    planned = plan.changed(planner, now, state=PlanState.PLANNED, lease=None, **vars(generated))
    return planned, EventKind.PLAN_PLANNED


def fail(
    plan: Plan,
    planner: Actor,
    attempt: int,
    now: Instant,
    rules: Rules,
    *,
    failure: Failure,
    generation: bytes | None,
    retryable: bool,
    retry_delay: Micros | None,
    interrupted: bool = False,
) -> tuple[Plan, EventKind]:
    """QUEUED again after a pause while attempts are left and it is retryable, else FAILED. `interrupted`: the planner
    was stopped, so this attempt does not count."""
    plan.held(planner, attempt)
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.FAIL)
    reported = plan if generation is None else plan.evolve(generation=generation)
    if interrupted:
        uncounted = reported.evolve(returned_attempts=plan.returned_attempts + 1)
        queued, _ = _given_back(uncounted, planner, now, failure, retryable=True, pause=retry_delay or 0)
        return queued, EventKind.PLAN_RETURNED
    pause = rules.planning_pause(plan.attempt) if retry_delay is None else retry_delay
    return _given_back(reported, planner, now, failure, retryable=retryable, pause=pause)


def expire_lease(plan: Plan, actor: Actor, now: Instant) -> tuple[Plan, EventKind]:
    """As after a failure that may be retried at once."""
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.EXPIRE_LEASE)
    failure = Failure("LEASE_EXPIRED", "the planner's lease ran out")
    return _given_back(plan, actor, now, failure, retryable=True, pause=0)


def cancel(plan: Plan, actor: Actor, now: Instant, failure: Failure) -> tuple[Plan, EventKind]:
    """CANCELLED; a planner at work loses its lease. Its open proposals are cancelled by the command."""
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.CANCEL)
    cancelled = plan.changed(actor, now, state=PlanState.CANCELLED, lease=None, failure=failure)
    return cancelled, EventKind.PLAN_CANCELLED


def delete(plan: Plan, open_proposals: int, actor: Actor, now: Instant, *, purge: bool) -> tuple[Plan, EventKind]:
    """Hidden, or ready to be removed for good. Not while proposals of it are open."""
    PLAN_LIFECYCLE.require(plan.state, PlanCommand.DELETE)
    if open_proposals:
        possible = [name for name in PLAN_LIFECYCLE.allowed(plan.state) if name != PlanCommand.DELETE.value]
        raise IllegalTransition(plan.state.value, PlanCommand.DELETE.value, possible)
    kind = EventKind.PLAN_PURGED if purge else EventKind.PLAN_DELETED
    return plan.changed(actor, now, delete_time=plan.delete_time or now), kind


def _given_back(
    plan: Plan, actor: Actor, now: Instant, failure: Failure, *, retryable: bool, pause: Micros
) -> tuple[Plan, EventKind]:
    if retryable and plan.attempts_left:
        not_before_time = now + pause if pause > 0 else None
        queued = plan.changed(
            actor, now, state=PlanState.QUEUED, lease=None, failure=failure, not_before_time=not_before_time
        )
        return queued, EventKind.PLAN_REQUEUED
    return plan.changed(actor, now, state=PlanState.FAILED, lease=None, failure=failure), EventKind.PLAN_FAILED


def with_proposals(
    plan: Plan,
    actor: Actor,
    now: Instant,
    rules: Rules,
    new_id: Callable[[], str],
    of_effect: Callable[[str], Sequence[Proposal]],
) -> tuple[Plan, list[tuple[Proposal, EventKind, str]]]:
    """The plan with `proposal_id` in its jobs, and the proposals, each with its first event's kind and comment.

    ALLOW of a planner gives an APPROVED proposal, REQUIRE_APPROVAL a PENDING one, DENY none. A proposal that could
    never run, because a job it needs was denied, is born CANCELLED, or waits for a person when its job says so. So does
    one whose effect another proposal has. `of_effect`: the proposals with an effect key.
    """
    plan = plan.evolve(jobs=tuple(replace(job, decision=attributed(_decision(job), actor, rules)) for job in plan.jobs))
    proposal_ids = {job.id: new_id() for job in plan.jobs if _decision(job).effect is not Effect.DENY}
    refused = _refused(plan.jobs)
    jobs: list[Job] = []
    born: list[tuple[Proposal, EventKind, str]] = []
    for job in plan.jobs:
        proposal_id = proposal_ids.get(job.id, "")
        jobs.append(
            replace(job, proposal_id=proposal_id, facts=(), will_not_run=refused.get(job.id) if proposal_id else None)
        )
        if not proposal_id:
            continue
        notices = [
            notice_of(
                _refusal(needed, proposal_ids),
                job.on_refusal,
                now,
                proposal_id=proposal_ids.get(needed, ""),
                job_id=needed,
            )
            for needed in dict.fromkeys(job.depends_on)
            if needed in refused and job.id not in refused
        ]
        others = [*of_effect(job.effect_key), *(each for each, _, _ in born)] if job.effect_key else []
        same = [same_effect_notice(each, now) for each in others if each.effect_key == job.effect_key]
        waits = bool(same) or (bool(notices) and job.on_refusal is OnRefusal.ASK)
        needed_ids = [needed for needed in job.depends_on if needed in proposal_ids]
        unfinished = sum(needed not in refused for needed in dict.fromkeys(needed_ids))
        first = _Birth(refused.get(job.id), (*notices, *same), waits, unfinished)
        proposal, kind, comment = _proposal_of(job, plan, proposal_ids, first, actor, now, rules)
        fetches: list[tuple[Proposal, EventKind]] = []
        if job.facts and proposal.state is ProposalState.PENDING:
            proposal, fetches = with_fetches(proposal, job.facts, actor, now, rules, new_id)
        born.append((proposal, kind, comment))
        born += [(fetch, fetch_kind, "") for fetch, fetch_kind in fetches]
    return plan.evolve(jobs=tuple(jobs)), born


@dataclass(frozen=True, slots=True)
class _Birth:
    """How a proposal begins. failure: why it is CANCELLED at once. waits: for a person, whatever policy says."""

    failure: Failure | None
    notices: tuple[Notice, ...]
    waits: bool
    unfinished_dependencies: int


def _decision(job: Job) -> Decision:
    assert job.decision is not None, "checked when the command was made"
    return job.decision


def _refused(jobs: tuple[Job, ...]) -> dict[str, Failure]:
    """Why jobs can never run, by job id: policy denied them, or one that they need. `jobs` are acyclic."""
    denied = {job.id for job in jobs if _decision(job).effect is Effect.DENY}
    refused = dict.fromkeys(denied, Failure("POLICY_DENIED"))
    found_more = bool(denied)
    while found_more:
        found_more = False
        for job in jobs:
            if job.id in refused or job.on_refusal not in (OnRefusal.UNSPECIFIED, OnRefusal.CANCEL):
                continue
            cause = next((needed for needed in job.depends_on if needed in refused), None)
            if cause is not None:
                refused[job.id] = denied_failure(cause) if cause in denied else unreachable_failure(cause)
                found_more = True
    return refused


def _refusal(job_id: str, proposal_ids: Mapping[str, str]) -> Failure:
    """Why a job was refused, for the jobs that do not fall with it."""
    return unreachable_failure(job_id) if job_id in proposal_ids else denied_failure(job_id)


def _proposal_of(
    job: Job,
    plan: Plan,
    proposal_ids: Mapping[str, str],
    birth: _Birth,
    actor: Actor,
    now: Instant,
    rules: Rules,
) -> tuple[Proposal, EventKind, str]:
    decision, failure = _decision(job), birth.failure
    allowed = decision.effect is Effect.ALLOW and not birth.waits
    depends_on = tuple(dict.fromkeys(proposal_ids[needed] for needed in job.depends_on if needed in proposal_ids))
    if failure is not None:
        state, kind, comment = ProposalState.CANCELLED, EventKind.PROPOSAL_CANCELLED, failure.message
    elif allowed:
        state, kind = ProposalState.APPROVED, EventKind.PROPOSAL_APPROVED_BY_POLICY
        comment = ": ".join(part for part in (decision.rule, decision.reason) if part)[:2_000]
    else:
        state, kind = ProposalState.PENDING, EventKind.PROPOSAL_CREATED
        comment = birth.notices[0].message if birth.waits else ""
    proposal = Proposal.of(**{name: getattr(job, name) for name in _STEP}).evolve(
        id=proposal_ids[job.id],
        created_by=plan.created_by,
        updated_by=actor.identity,
        # Who writes a job in another's name without being the planner cannot approve it either.
        revised_by="" if decision.decided_by or actor.identity == plan.created_by else actor.identity,
        create_time=now,
        update_time=now,
        plan_id=plan.id,
        job_id=job.id,
        args_digest=args_digest(job.args_json),
        labels=plan.labels,
        state=state,
        required_approvals=0 if allowed else max(1, decision.required_approvals),
        reviewer_role=decision.reviewer_role,
        max_attempts=job.max_attempts or 1,
        depends_on=depends_on,
        waiting_for=birth.unfinished_dependencies,
        failure=failure,
        submit_time=now,
        review_time=now if allowed and failure is None else None,
        expire_time=rules.expire_time(decision, now),
        end_time=None if failure is None else now,
        notices=birth.notices,
        facts=(),
    )
    return proposal, kind, comment
