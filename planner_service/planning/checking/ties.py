"""Which jobs wait for which: those whose result a job needs, and those that only come first.

A model, or the client that brings a plan, may say which jobs a job depends on. Without that, jobs keep the order of the
request, but one that ends without success does not take the others with it: a person decides about those after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.policy_effect import Effect, OnRefusal, StepOrder
from planner_service.plan import Job

RULE = "dependency-denied"
"""Stands beside the rule that allowed a job, where a job before it was denied and a person decides about it."""


def tied(job: Job, earlier: Sequence[Job], catalogue: Catalogue, requested: StepOrder | None) -> Job:
    """A decided job with all that it waits for.

    job: depends_on holds what its plan says. earlier: the jobs before it, tied already. requested: the order that the
    request asks for; policy, then the catalogue, count more.
    """
    needed = job.depends_on
    previous = next((other for other in reversed(earlier) if _is_sequential(other, catalogue, requested)), None)
    in_order = previous is not None and previous.id not in needed and _is_sequential(job, catalogue, requested)
    depends_on = (*needed, previous.id) if in_order and previous is not None else needed
    if not depends_on:
        return replace(job, on_refusal=None)
    on_refusal = _on_refusal(job, catalogue) or (OnRefusal.ASK if in_order else OnRefusal.CANCEL)
    placed = replace(job, depends_on=depends_on, on_refusal=on_refusal)
    if on_refusal is OnRefusal.ASK and (denied := [other for other in _not_run(earlier) if other in depends_on]):
        reason = f"{' and '.join(denied)} will not be carried out: run this all the same?"
        decision = job.decision
        return replace(placed, decision=None if decision is None else decision.left_to_a_person(RULE, reason))
    return placed


def all_tied(jobs: Iterable[Job], catalogue: Catalogue, requested: StepOrder | None) -> tuple[Job, ...]:
    """Decided jobs, each with all that it waits for."""
    placed: list[Job] = []
    for job in jobs:
        placed.append(tied(job, placed, catalogue, requested))
    return tuple(placed)


def _is_sequential(job: Job, catalogue: Catalogue, requested: StepOrder | None) -> bool:
    action = catalogue.find(job.action_name)
    order = (
        (job.decision.order if job.decision else None) or (action.order if action else None) or requested
    ) or StepOrder.SEQUENTIAL
    return order is StepOrder.SEQUENTIAL


def _on_refusal(job: Job, catalogue: Catalogue) -> OnRefusal | None:
    """What the policy, else the catalogue, else the plan says."""
    action = catalogue.find(job.action_name)
    governed = job.decision.on_refusal if job.decision else None
    return governed or (action.on_refusal if action else None) or job.on_refusal


def _not_run(jobs: Iterable[Job]) -> Iterator[str]:
    """Ids of those that policy denied, and of those that fall with one of these."""
    fallen: set[str] = set()
    for job in jobs:
        denied = job.decision is not None and job.decision.effect is Effect.DENY
        if denied or (job.on_refusal is OnRefusal.CANCEL and not fallen.isdisjoint(job.depends_on)):
            fallen.add(job.id)
            yield job.id
