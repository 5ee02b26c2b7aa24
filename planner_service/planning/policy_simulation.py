"""What another policy would have decided about jobs that were planned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.errors import TooMany
from planner_service.governance.decision import Decision
from planner_service.governance.files import KnownRoles
from planner_service.governance.governance import Governance
from planner_service.governance.policy import Policy
from planner_service.governance.policy_file import parse_policy
from planner_service.plan import PastPlan
from planner_service.planning.checking.doubts import doubts_about

_LONG_THOUGHT_SECONDS = 0.001


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


class Simulations:
    """Simulations of one planner: each reads all of history, and asks a policy that may think long."""

    def __init__(self, limit: int, known_roles: KnownRoles = lambda: None) -> None:
        """`limit`: how many there may be at once. `known_roles`: those that candidates may name."""
        self._limit = limit
        self._known_roles = known_roles
        self._running = 0

    async def run(
        self, policy_yaml: str, history: AsyncIterator[PastPlan], catalogue: Catalogue, max_differences: int
    ) -> tuple[Policy, Simulation]:
        """The candidate and what it would have decided. Raises TooMany, and PolicyInvalid where the files would be
        refused with it."""
        if self._running >= self._limit:
            # One looks at all of history: seconds, not milliseconds.
            raise TooMany("simulations", self._limit, retry_after_seconds=5.0)
        self._running += 1
        parsing = asyncio.create_task(
            asyncio.to_thread(lambda: parse_policy(policy_yaml, catalogue, self._known_roles()))
        )
        try:
            candidate = await asyncio.shield(parsing)
            return candidate, await _simulate(history, Governance(catalogue, candidate), max_differences)
        finally:
            # A thread cannot be stopped, and reads a large policy for seconds: it counts until it is done, or callers
            # who give up and come again would fill all threads there are.
            parsing.add_done_callback(self._ended)

    def _ended(self, parsing: asyncio.Task[Policy]) -> None:
        self._running -= 1
        if not parsing.cancelled():
            parsing.exception()


async def _simulate(history: AsyncIterator[PastPlan], candidate: Governance, max_differences: int) -> Simulation:
    """Ask the candidate about every job that was decided, as of the time when it was.

    Risk and the catalogue's own rules are those of today's catalogue: history does not keep them. Two decisions
    differ when they ask something else of people; another rule or reason alone is no difference.
    """
    evaluated = different = 0
    differences: list[Difference] = []
    async for past in history:
        doubts = doubts_about(past.plan.prompt, past.plan.jobs, candidate.catalogue)
        for job in past.plan.jobs:
            if job.decision is None:
                continue
            evaluated += 1
            started = time.perf_counter()
            decision = candidate.decide(job, past.plan.labels, past.created_by, past.create_time)
            decision = doubts.raised(replace(job, decision=decision), candidate.policy).decision or decision
            # A candidate may think long about each, and history is long: half of the time is everybody else's.
            took = time.perf_counter() - started
            await asyncio.sleep(took if took > _LONG_THOUGHT_SECONDS else 0)
            if _demands(decision) != _demands(job.decision):
                different += 1
                if len(differences) < max_differences:
                    differences.append(Difference(past.id, job.id, job.action_name, job.decision, decision))
    return Simulation(evaluated, different, tuple(differences))


def _demands(decision: Decision) -> tuple[object, ...]:
    return (decision.effect, frozenset(decision.requirements), decision.approval_ttl)
