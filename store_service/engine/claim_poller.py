"""Looking, on behalf of all who wait, for what became claimable without a commit of this process.

That is what another process committed, and what only waited for its time (a retry's pause). However many wait, there
is one look per interval; while nothing is claimable it is one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from plangate_core.contract.limits import MAX_JOBS
from plangate_core.process.clock import Clock
from plangate_core.process.tasks import stop_task
from store_service.database import models
from store_service.database.database import Database
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.instant import Instant, instant_of
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal
from store_service.engine.work_signals import Wanted, WorkSignals

_log = structlog.get_logger(__name__)

_DUE = "(not_before_time IS NULL OR not_before_time <= :now)"
_IN_TIME = f"{_DUE} AND (expire_time IS NULL OR expire_time > :now)"
# Hops from one action to the next in the index of what is ready, however many proposals each has.
_READY_ACTIONS = (
    f"WITH RECURSIVE action(name) AS (SELECT min(action_name) FROM proposals {{ready_action}} WHERE {models.READY} "  # noqa: S608 - our own words
    f"UNION ALL SELECT (SELECT min(action_name) FROM proposals {{ready_action}} WHERE {models.READY} "
    "AND action_name > action.name) FROM action WHERE action.name IS NOT NULL) "
    "SELECT name FROM action WHERE name IS NOT NULL"
)
_READY_OF_ACTION = (
    f"SELECT id, action_name, plan_id FROM proposals {{ready_action}} WHERE {models.READY} "  # noqa: S608 - our own words
    f"AND action_name = :name AND {_IN_TIME} ORDER BY priority DESC, id LIMIT :count"
)
_READY_OF_PLAN = (
    f"SELECT id, action_name, plan_id FROM proposals WHERE plan_id = :plan_id AND {models.IN_A_PLAN} "  # noqa: S608 - our own words
    f"AND {models.READY} AND {_IN_TIME} LIMIT :count"
)
_QUEUED_PLANS = f"SELECT id FROM plans WHERE {models.QUEUED} AND {_DUE} LIMIT :count"  # noqa: S608 - our own words


class ClaimPoller:
    """Looks every `interval_seconds` while anybody waits, and wakes as many as there are things to claim."""

    def __init__(self, database: Database, signals: WorkSignals, *, clock: Clock, interval_seconds: float) -> None:
        self._database = database
        self._signals = signals
        self._clock = clock
        self._interval_seconds = interval_seconds
        # Without statistics SQLite might prefer another index, and read a million rows to find one.
        hint = "INDEXED BY ix_proposals_ready_action" if database.kind == "sqlite" else ""
        self._ready_actions = text(_READY_ACTIONS.format(ready_action=hint))
        self._ready_of_action = text(_READY_OF_ACTION.format(ready_action=hint))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="claimable-lookout")

    async def stop(self) -> None:
        """Ends the task."""
        await stop_task(self._task)

    async def look(self) -> None:
        """One look. Raises DatabaseUnavailable."""
        wanted = self._signals.wanted()
        if not wanted:
            return
        now = instant_of(self._clock.now())
        async with self._database.read() as connection:
            found = await self._claimable(connection, wanted, now)
        self._signals.announce(found)

    async def _claimable(
        self, connection: AsyncConnection, wanted: dict[Wanted, int], now: Instant
    ) -> Sequence[Plan | Proposal]:
        """As many of each kind as there are waiters for it. Only what `Wanted.fits` looks at is filled in."""
        found: dict[str, Plan | Proposal] = {}

        async def proposals(statement: Any, **parameters: object) -> None:
            for proposal_id, action_name, plan_id in await connection.execute(statement, {"now": now, **parameters}):
                found[proposal_id] = Proposal.of(id=proposal_id, action_name=action_name, plan_id=plan_id)

        if any(each.query for each in wanted):
            for name in list(await connection.scalars(self._ready_actions)):
                count = sum(
                    waiting
                    for each, waiting in wanted.items()
                    if each.query
                    and not each.query.plan_id
                    and (not each.query.action_names or name in each.query.action_names)
                )
                if count:
                    await proposals(self._ready_of_action, name=name, count=count)
        for each, count in wanted.items():
            if each.query is None:
                for plan_id in await connection.scalars(text(_QUEUED_PLANS), {"now": now, "count": count}):
                    found[plan_id] = Plan.of(id=plan_id)
            elif each.query.plan_id:
                await proposals(text(_READY_OF_PLAN), plan_id=each.query.plan_id, count=MAX_JOBS)
        return list(found.values())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.look()
            except DatabaseUnavailable as error:
                _log.warning("could not look for what can be claimed", problem=error.problem)
            except Exception:
                _log.exception("looking for what can be claimed failed")
