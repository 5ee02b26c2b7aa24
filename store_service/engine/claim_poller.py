"""Looks, on behalf of all waiting claims, for what became claimable without a commit of this process: what another
process committed, and what only waited for its time (a retry's pause).

There is one look per interval, however many wait; while nothing is claimable it is one statement.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from plangate_core.contract.limits import MAX_JOBS
from plangate_core.process.clock import Clock
from plangate_core.process.tasks import stop_task
from store_service.commands.working_set import ReadyQuery
from store_service.database.database import Database
from store_service.database.plan_repository import PlanRepository
from store_service.database.proposal_repository import ProposalRepository
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.instant import Instant, instant_of
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal
from store_service.engine.work_signals import Wanted, WorkSignals

_log = structlog.get_logger(__name__)


class ClaimPoller:
    """Polls every `interval_seconds` while claims wait, and wakes as many as can be served."""

    def __init__(self, database: Database, signals: WorkSignals, *, clock: Clock, interval_seconds: float) -> None:
        self._database = database
        self._signals = signals
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="claim-poller")

    async def stop(self) -> None:
        """Ends the task."""
        await stop_task(self._task)

    async def look(self) -> None:
        """One look. Raises DatabaseUnavailable."""
        wanted = self._signals.wanted()
        if not wanted:
            return
        now = instant_of(self._clock.now())
        async with self._database.reading.read() as session:
            found = await _claimable(ProposalRepository(session), PlanRepository(session), wanted, now)
        self._signals.announce(found)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.look()
            except DatabaseUnavailable as error:
                _log.warning("could not look for what can be claimed", problem=error.problem)
            except Exception:
                _log.exception("looking for what can be claimed failed")


async def _claimable(
    proposals: ProposalRepository, plans: PlanRepository, wanted: Mapping[Wanted, int], now: Instant
) -> Sequence[Plan | Proposal]:
    """As many of each kind as there are waiters for it. Only what `Waiter.fits` looks at is filled in."""
    found: dict[str, Plan | Proposal] = {}
    queries = [(query, waiting) for query, waiting in wanted.items() if query and not query.plan_id]
    for name in await proposals.ready_actions() if queries else ():
        counts = Counter[ReadyQuery]()
        for ready, waiting in queries:
            if ready.takes(name):
                counts[ReadyQuery(frozenset({name}), executes=ready.executes)] += waiting
        for query, count in counts.items():
            for proposal in await proposals.find_ready(query, now, count):
                found[proposal.id] = proposal
    for each, count in wanted.items():
        if each is None:
            for plan in await plans.find_queued(now, count):
                found[plan.id] = plan
        elif each.plan_id:
            query = ReadyQuery(plan_id=each.plan_id, executes=each.executes)
            for proposal in await proposals.find_ready(query, now, MAX_JOBS):
                found[proposal.id] = proposal
    return list(found.values())
