"""Expires leases and proposals, and deletes what answers old repeated requests."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import structlog

from plangate_core.process.clock import Clock
from plangate_core.process.tasks import stop_task
from store_service.commands import Command, ExpireLease, ExpirePlanLease, ExpireProposal
from store_service.database.database import Database
from store_service.database.plan_repository import PlanRepository
from store_service.database.proposal_repository import Backlog, ProposalRepository
from store_service.domain.actor import SWEEPER
from store_service.domain.errors import StoreError
from store_service.domain.instant import SECOND, instant_of
from store_service.domain.plan import PlanState
from store_service.engine.writer import Writer

_log = structlog.get_logger(__name__)

# Requests are remembered for days.
_FORGET_SECONDS = 60.0
# Counting the backlog takes at most this part of the time, however long the backlog is.
_COUNTING_SHARE = 0.05

BacklogListener: TypeAlias = Callable[[Sequence[Backlog], Mapping[PlanState, int]], None]


class Sweeper:
    """Polls every `interval_seconds` and sends commands to the writer, at most `limit` of a kind at a time. Several
    processes may sweep one database: a command that comes second does nothing."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        *,
        clock: Clock,
        interval_seconds: float = 1.0,
        limit: int = 100,
        request_retention_days: int = 0,
    ) -> None:
        """`request_retention_days`: how long a repeated request is answered as it was the first time; 0: for ever."""
        self._database = database
        self._writer = writer
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._limit = limit
        self._request_retention = request_retention_days * 86_400 * SECOND
        self._backlog_listener: BacklogListener | None = None
        self._task: asyncio.Task[None] | None = None

    def on_backlog(self, listener: BacklogListener) -> None:
        """Has every sweep count what has not ended, for `listener`. It must not block or raise."""
        self._backlog_listener = listener

    def start(self) -> None:
        """Begins to sweep, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="sweeper")

    async def stop(self) -> None:
        """Ends the task. Commands it gave to the writer are carried out."""
        await stop_task(self._task)

    async def sweep(self) -> int:
        """One round: everything that is due now. Returns how many things were changed.

        Raises what the database and the writer raise.
        """
        changed = 0
        while True:
            commands = await self._due()
            if not commands:
                return changed
            answers = await asyncio.gather(*map(self._writer.execute, commands))
            acted = sum(bool(answer.snapshots) for answer in answers)
            if not acted:
                # Somebody else was faster.
                return changed
            changed += acted

    async def forget_requests(self) -> int:
        """Forgets the requests that are older than the retention. Returns how many events were looked at.

        Raises what the writer raises.
        """
        if not self._request_retention:
            return 0
        before = instant_of(self._clock.now()) - self._request_retention
        looked_at = 0
        while True:
            # Each piece is a transaction of its own: writes go on between them.
            count = await self._writer.forget_requests(before, self._limit)
            looked_at += count
            if count < self._limit:
                return looked_at

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        forgot_at = -_FORGET_SECONDS
        count_at = 0.0
        while True:
            self._writer.look_at_file()
            try:
                await self.sweep()
                if loop.time() - forgot_at >= _FORGET_SECONDS:
                    forgot_at = loop.time()
                    await self.forget_requests()
                if self._backlog_listener is not None and loop.time() >= count_at:
                    started = loop.time()
                    self._backlog_listener(*await self._backlog())
                    count_at = loop.time() + (loop.time() - started) / _COUNTING_SHARE
            except StoreError as error:
                _log.warning("the sweep was put off", problem=str(error))
            except Exception:
                _log.exception("the sweep failed")
            await asyncio.sleep(self._interval_seconds)

    async def _backlog(self) -> tuple[Sequence[Backlog], Mapping[PlanState, int]]:
        async with self._database.reading.read() as session:
            return await ProposalRepository(session).backlog(), await PlanRepository(session).unfinished()

    async def _due(self) -> list[Command]:
        """What to do now; those that are longest overdue first. The commands look again before they act."""
        now = instant_of(self._clock.now())
        async with self._database.reading.read() as session:
            proposals, plans = ProposalRepository(session), PlanRepository(session)
            return [
                *(
                    ExpireLease(actor=SWEEPER, proposal_id=proposal_id)
                    for proposal_id in await proposals.with_lapsed_lease(now, self._limit)
                ),
                *(
                    ExpireProposal(actor=SWEEPER, proposal_id=proposal_id)
                    for proposal_id in await proposals.expired(now, self._limit)
                ),
                *(
                    ExpirePlanLease(actor=SWEEPER, plan_id=plan_id)
                    for plan_id in await plans.with_lapsed_lease(now, self._limit)
                ),
            ]
