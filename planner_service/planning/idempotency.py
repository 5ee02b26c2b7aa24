"""Whether a call has the content of an earlier one with the same request_id.

The store compares letter by letter what it is to store, but what the planner stores of one request differs from time to
time: a model answers otherwise, policy was changed meanwhile. So the planner compares what the client sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from planner_service.plan import FirstAnswer, Job, Plan, PlanRequest, Proposal, Queueing, Revision
from planner_service.planning.checking.checks import job_id


def identified(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs, those without an id numbered by their position."""
    return tuple(job if job.id else replace(job, id=job_id(index)) for index, job in enumerate(jobs))


def asks_the_same(first: FirstAnswer, request: PlanRequest, queue: Queueing | None = None) -> bool:
    """Whether a stored plan came of this request, queued so, or made at once where there is no `queue`."""
    if queue is None or first.queue is None:
        same_queue = queue is first.queue
    else:
        attempts = queue.max_planning_attempts or first.queue.max_planning_attempts
        same_queue = first.queue == replace(queue, max_planning_attempts=attempts)
    return same_queue and _asked(first.plan) == _asked(request)


def _said(plan: Plan) -> tuple[object, ...]:
    return plan.prompt, plan.objective, plan.context, plan.labels


def _asked(request: Plan | PlanRequest) -> tuple[object, ...]:
    return request.prompt, request.context, request.labels, request.options


def says_the_same(first: FirstAnswer, brought: Plan) -> bool:
    """Whether a stored plan is what this one, brought by a client, became."""
    stored, jobs = first.plan, identified(brought.jobs)
    return (
        first.queue is None
        and _said(stored) == _said(brought)
        and len(stored.jobs) == len(jobs)
        and all(map(_is_made_of, stored.jobs, jobs))
    )


def revises_the_same(revised: Proposal, revision: Revision) -> bool:
    """Whether a proposal, as an earlier revision left it, is what this one would have made of it."""
    return (
        revised.id == revision.proposal_id
        and (revision.action_args is None or _fills_in(revised.action_args, revision.action_args))
        and revision.description in (None, revised.description)
        and revision.priority in (None, revised.priority)
        and revision.depends_on in (None, revised.depends_on)
    )


def _is_made_of(stored: Job, brought: Job) -> bool:
    """Whether a stored job is what this one becomes: with defaults, a description and a decision added."""
    return (
        replace(
            brought,
            action_args=stored.action_args,
            description=brought.description or stored.description,
            assumed=stored.assumed,
            depends_on=brought.depends_on or stored.depends_on,
            on_refusal=brought.on_refusal or stored.on_refusal,
            idempotent=stored.idempotent,
            effect_key=stored.effect_key,
            decision=stored.decision,
            max_attempts=stored.max_attempts,
        )
        == stored
        and brought.max_attempts in (0, stored.max_attempts)
        and _fills_in(stored.action_args, brought.action_args)
    )


def _fills_in(stored: object, brought: object) -> bool:
    """Whether a stored value is the one that was brought, with nothing but defaults added."""
    if isinstance(stored, Mapping) and isinstance(brought, Mapping):
        return all(name in stored and _fills_in(stored[name], value) for name, value in brought.items())
    if isinstance(stored, list) and isinstance(brought, list):
        return len(stored) == len(brought) and all(map(_fills_in, stored, brought))
    # A schema may turn "3" into 3 (x-coerce).
    return stored == brought or (isinstance(brought, str) and str(stored).lower() == brought.strip().lower())
