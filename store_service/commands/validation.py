"""Checks of what clients want stored, by the documented limits. Paths are those of the request's fields."""

from collections.abc import Sequence

from plangate_core.contract.limits import (
    MAX_APPROVAL_REQUIREMENTS,
    MAX_ASSUMED,
    MAX_ATTEMPTS,
    MAX_DEPENDENCIES,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_EFFECT_KEY_CHARACTERS,
    MAX_EVIDENCE_CHARACTERS,
    MAX_FACTS,
    MAX_GENERATION_BYTES,
    MAX_JOBS,
    MAX_MODEL_CALLS,
    MAX_NAME_CHARACTERS,
    MAX_OBJECTIVE_CHARACTERS,
    MAX_PRIORITY,
    MAX_PROMPT_CHARACTERS,
    MAX_REQUIRED_APPROVALS,
    MAX_TOKEN_BUDGET,
    MAX_WARNINGS,
)
from store_service.domain import limits
from store_service.domain.errors import InvalidField
from store_service.domain.plan import GeneratedPlan, Job, PlanDraft, PlanState
from store_service.domain.proposal import UPDATABLE_FIELDS, Decision, Effect, Fact, ProposalDraft

_TEXTS = {
    "objective": MAX_OBJECTIVE_CHARACTERS,
    "prompt": MAX_PROMPT_CHARACTERS,
    "no_action_reason": MAX_DESCRIPTION_CHARACTERS,
    "description": MAX_DESCRIPTION_CHARACTERS,
    "evidence": MAX_EVIDENCE_CHARACTERS,
    "effect_key": MAX_EFFECT_KEY_CHARACTERS,
    "reason": MAX_DESCRIPTION_CHARACTERS,
    "rule": MAX_NAME_CHARACTERS,
    "role": MAX_NAME_CHARACTERS,
    "reviewer_role": MAX_NAME_CHARACTERS,
    "governance_digest": MAX_NAME_CHARACTERS,
    "model": MAX_NAME_CHARACTERS,
}
_NUMBERS = {
    "priority": (-MAX_PRIORITY, MAX_PRIORITY),
    "required_approvals": (0, MAX_REQUIRED_APPROVALS),
    "max_attempts": (0, MAX_ATTEMPTS),
    "token_budget": (0, MAX_TOKEN_BUDGET),
    "count": (1, MAX_REQUIRED_APPROVALS),
}


def _check_sizes(value: object, path: str, only: frozenset[str] | None = None) -> None:
    """Texts and numbers of a thing, by the names of its fields."""
    for name, limit in _TEXTS.items():
        if hasattr(value, name) and (only is None or name in only):
            limits.text(f"{path}.{name}", getattr(value, name), limit)
    for name, (low, high) in _NUMBERS.items():
        if hasattr(value, name) and (only is None or name in only):
            limits.number(f"{path}.{name}", getattr(value, name), low, high)


def check_proposal(draft: ProposalDraft, path: str, fields: frozenset[str] = UPDATABLE_FIELDS) -> None:
    """What a proposal may say. Raises InvalidField. `args_json` was checked when it was made canonical."""
    _check_sizes(draft, path, fields)
    if "labels" in fields and draft.labels:
        limits.labels(f"{path}.labels", draft.labels)
    if "assumed" in fields:
        check_assumed(draft.assumed, f"{path}.assumed")
    if "depends_on" in fields:
        _check_depends_on(draft.depends_on, f"{path}.depends_on")
    if "facts" in fields:
        check_facts(draft.facts, f"{path}.facts")
    if "decision" in fields and draft.decision is not None:
        check_decision(draft.decision, f"{path}.decision")
        if draft.decision.effect is Effect.DENY:
            raise InvalidField(f"{path}.decision.effect", "a denied job makes no proposal")


def check_new_proposal(draft: ProposalDraft, path: str) -> None:
    """What a proposal that belongs to no plan may say. Raises InvalidField."""
    limits.text(f"{path}.action_name", draft.action_name, MAX_NAME_CHARACTERS, required=True)
    check_proposal(draft, path)


def check_assumed(assumed: Sequence[str], path: str) -> None:
    """Dotted paths of arguments. Raises InvalidField."""
    limits.count(path, assumed, MAX_ASSUMED)
    for position, name in enumerate(assumed):
        limits.text(f"{path}[{position}]", name, MAX_EFFECT_KEY_CHARACTERS)


def check_facts(facts: Sequence[Fact], path: str) -> None:
    """What is to be looked up. Raises InvalidField."""
    limits.count(path, facts, MAX_FACTS)
    for position, fact in enumerate(facts):
        where = f"{path}[{position}]"
        limits.text(f"{where}.action_name", fact.action_name, MAX_NAME_CHARACTERS, required=True)
        if fact.decision is not None:
            check_decision(fact.decision, f"{where}.decision")
        if fact.failure is not None:
            limits.failure(f"{where}.failure", fact.failure.reason, fact.failure.message)


def _check_depends_on(depends_on: Sequence[str], path: str) -> None:
    limits.count(path, depends_on, MAX_DEPENDENCIES)
    for position, needed in enumerate(depends_on):
        limits.resource_id(f"{path}[{position}]", needed)
    if len(set(depends_on)) != len(depends_on):
        raise InvalidField(path, "must name each proposal once")


def check_decision(decision: Decision, path: str) -> None:
    """What policy may decide. Raises InvalidField."""
    _check_sizes(decision, path)
    limits.count(f"{path}.approval_requirements", decision.approval_requirements, MAX_APPROVAL_REQUIREMENTS)
    for position, requirement in enumerate(decision.approval_requirements):
        _check_sizes(requirement, f"{path}.approval_requirements[{position}]")
    if len({requirement.role for requirement in decision.approval_requirements}) < len(decision.approval_requirements):
        raise InvalidField(f"{path}.approval_requirements", "must name each role once")
    if decision.approval_ttl is not None and not 0 < decision.approval_ttl <= limits.MAX_APPROVAL_TTL:
        raise InvalidField(f"{path}.approval_ttl", "must be more than nothing and at most 36,500 days")


def check_plan(draft: PlanDraft) -> None:
    """What a plan may say. Raises InvalidField."""
    _check_sizes(draft, "plan")
    limits.labels("plan.labels", draft.labels)
    if draft.options is not None:
        limits.number("plan.options.max_attempts", draft.options.max_attempts, 0, MAX_MODEL_CALLS)
        _check_sizes(draft.options, "plan.options")
    if draft.state is PlanState.QUEUED:
        if draft.jobs:
            raise InvalidField("plan.jobs", "a queued plan has no jobs yet")
        if not draft.prompt:
            raise InvalidField("plan.prompt", "a queued plan needs a prompt")
    elif draft.state is not PlanState.PLANNED:
        raise InvalidField("plan.state", "must be PLANNED or QUEUED")
    check_generated(draft)


def check_generated(generated: GeneratedPlan) -> None:
    """What planning may give. Raises InvalidField."""
    _check_sizes(generated, "plan")
    limits.count("plan.warnings", generated.warnings, MAX_WARNINGS)
    for position, warning in enumerate(generated.warnings):
        limits.text(f"plan.warnings[{position}]", warning, MAX_DESCRIPTION_CHARACTERS)
    check_generation(generated.generation, "plan.generation")
    _check_jobs(generated.jobs)


def check_generation(generation: bytes | None, path: str) -> None:
    """The report is kept as it is, up to 1 MiB. Raises InvalidField."""
    if generation is not None and len(generation) > MAX_GENERATION_BYTES:
        raise InvalidField(path, f"must be at most {MAX_GENERATION_BYTES} bytes")


def _check_jobs(jobs: Sequence[Job]) -> None:
    limits.count("plan.jobs", jobs, MAX_JOBS)
    ids: set[str] = set()
    for position, job in enumerate(jobs):
        path = f"plan.jobs[{position}]"
        limits.job_id(f"{path}.id", job.id)
        if job.id in ids:
            raise InvalidField(f"{path}.id", f"{job.id} is the id of an earlier job")
        ids.add(job.id)
        _check_job(job, path)
    for position, job in enumerate(jobs):
        for which, needed in enumerate(job.depends_on):
            if needed not in ids:
                raise InvalidField(f"plan.jobs[{position}].depends_on[{which}]", f"there is no job {needed[:64]}")
    _check_acyclic(jobs)


def _check_job(job: Job, path: str) -> None:
    limits.text(f"{path}.action_name", job.action_name, MAX_NAME_CHARACTERS, required=True)
    _check_sizes(job, path)
    limits.count(f"{path}.input_context", job.input_context, MAX_DEPENDENCIES)
    for position, name in enumerate(job.input_context):
        limits.text(f"{path}.input_context[{position}]", name, MAX_NAME_CHARACTERS)
    limits.count(f"{path}.depends_on", job.depends_on, MAX_DEPENDENCIES)
    check_assumed(job.assumed, f"{path}.assumed")
    if job.decision is None:
        raise InvalidField(f"{path}.decision", "is required")
    check_decision(job.decision, f"{path}.decision")
    check_facts(job.facts, f"{path}.facts")


def _check_acyclic(jobs: Sequence[Job]) -> None:
    waiting = {job.id: set(job.depends_on) for job in jobs}
    while waiting:
        free = {job_id for job_id, needed in waiting.items() if not needed}
        if not free:
            raise InvalidField("plan.jobs", f"depends_on goes in a circle through {sorted(waiting)[0]}")
        waiting = {job_id: needed - free for job_id, needed in waiting.items() if job_id not in free}
