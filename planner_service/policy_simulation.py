"""What another policy would have decided about jobs that were planned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from planner_service.catalogue import Catalogue
from planner_service.decision import Decision
from planner_service.governance import Governance
from planner_service.plan import Plan
from planner_service.policy import Policy


class Past(Protocol):
    """A plan of the store's history."""

    @property
    def id(self) -> str: ...
    @property
    def created_by(self) -> str: ...
    @property
    def create_time(self) -> datetime: ...
    @property
    def plan(self) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One job about which the candidate would have decided differently."""

    plan_id: str
    job_id: str
    action_name: str
    actual: Decision
    candidate: Decision


@dataclass(frozen=True, slots=True)
class Simulation:
    """`differences` holds the first of `jobs_different`, oldest plan first."""

    jobs_evaluated: int
    jobs_different: int
    differences: tuple[Difference, ...]


async def simulate(
    history: AsyncIterator[Past], catalogue: Catalogue, candidate: Policy, max_differences: int
) -> Simulation:
    """Ask the candidate about every job that was decided, as of the time when it was.

    Risk and the catalogue's own rules are those of today's catalogue: history does not keep them. Two decisions
    differ when they ask something else of people; another rule or reason alone is no difference.
    """
    governance = Governance(catalogue, candidate)
    evaluated = different = 0
    differences: list[Difference] = []
    async for past in history:
        for job in past.plan.jobs:
            if job.decision is None:
                continue
            evaluated += 1
            # A candidate may think long about each, and history is long.
            await asyncio.sleep(0)
            decision = governance.decide(job, past.plan.labels, past.created_by, past.create_time)
            if _demands(decision) != _demands(job.decision):
                different += 1
                if len(differences) < max_differences:
                    differences.append(Difference(past.id, job.id, job.action_name, job.decision, decision))
    return Simulation(evaluated, different, tuple(differences))


def _demands(decision: Decision) -> tuple[object, ...]:
    return (decision.effect, decision.required_approvals, decision.reviewer_role, decision.approval_ttl)
