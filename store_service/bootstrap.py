"""The composition root: everything a store server is made of, put together in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import grpc
import structlog
from plangate.store.v1 import (
    identity_service_pb2,
    identity_service_pb2_grpc,
    store_service_pb2,
    store_service_pb2_grpc,
)

from plangate_core.process.clock import Clock, SystemClock
from plangate_core.rpc.server import GrpcServer
from store_service.api.event_servicer import WATCH_METHOD, EventServicer
from store_service.api.identity_servicer import IdentityServicer
from store_service.api.plan_servicer import PlanServicer
from store_service.api.proposal_servicer import ProposalServicer
from store_service.api.status_mapping import map_error
from store_service.database.database import Database, DatabaseOptions, open_database
from store_service.database.maintenance.offline import database_version, schema_revision
from store_service.database.maintenance.sealing import key_of_log, key_path
from store_service.database.reader import Reader
from store_service.domain.instant import SECOND
from store_service.domain.rules import Rules
from store_service.engine.failpoints import FailPoints
from store_service.engine.writer import DatabaseState, Writer, WriterOptions
from store_service.event_log.checkpoints import CheckpointKey
from store_service.event_log.recent_events import RecentEvents
from store_service.messages.log_rules import log_rules
from store_service.metrics import StoreMetrics
from store_service.settings import StoreSettings
from store_service.sweeper import Sweeper

SERVICE_NAMES = tuple(
    service.full_name
    for file in (store_service_pb2, identity_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

DATABASE_HEALTH = "plangate.store.database"
"""The health of the database alone: NOT_SERVING while it takes no writes. Reads may still be answered."""

_log = structlog.get_logger("store")


class StoreServer:
    """A store. start() and stop() once each, in one event loop."""

    def __init__(self, settings: StoreSettings, *, clock: Clock, fail_points: FailPoints | None) -> None:
        self._settings = settings
        self._clock = clock
        self._fail_points = fail_points
        self._started = AsyncExitStack()
        self._metrics: StoreMetrics | None = None
        self._asides: set[asyncio.Task[None]] = set()
        self.failure = ""
        """Why the server stopped by itself; empty after a signal."""
        self.grpc: GrpcServer
        """Known after start()."""

    @property
    def address(self) -> str:
        """Where it listens. Known after start()."""
        return self.grpc.address

    async def start(self) -> int:
        """Open the database and serve. Returns the port once health says SERVING.

        Raises StartRefused, DatabaseUnavailable, ServerRefused, TokensFileInvalid; nothing is left open then.
        """
        async with AsyncExitStack() as stack:
            port = await self._start(stack)
            self._started = stack.pop_all()
        return port

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Drain (see GrpcServer.stop), write what is still waiting, close the database."""
        self._stop_grace_seconds = grace_seconds
        await self._started.aclose()

    async def _start(self, stack: AsyncExitStack) -> int:
        settings = self._settings
        key = CheckpointKey.read(settings.checkpoint_key_file) if settings.checkpoint_key_file else None
        database = await open_database(settings.database_url, _database_options(settings))
        stack.push_async_callback(database.close)
        log_key = await key_of_log(database, key_path(settings.database_url, settings.log_key_file))
        writer = Writer(
            database,
            clock=self._clock,
            log_rules=log_rules(settings.planner_identity, log_key),
            rules=_rules(settings),
            options=WriterOptions(
                max_waiting=settings.max_waiting_writes,
                max_batch=settings.max_batch,
                poll_seconds=settings.poll_seconds,
            ),
            fail_points=self._fail_points,
            log_key=log_key,
        )
        reader = Reader(database.reading, timeout_seconds=settings.read_timeout_seconds)
        await writer.start()
        stack.push_async_callback(writer.stop)
        recent = RecentEvents(
            reader,
            # A SQLite file has one process; on PostgreSQL others may write too.
            poll_seconds=None if database.kind == "sqlite" else settings.poll_seconds,
            max_events=settings.watch_buffer_events,
            max_bytes=settings.watch_buffer_bytes,
        )
        writer.on_commit(recent.committed)
        writer.on_head_set_back(recent.set_back)
        await recent.start()
        stack.push_async_callback(recent.close)
        sweeper = Sweeper(
            database,
            writer,
            clock=self._clock,
            interval_seconds=settings.sweep_seconds,
            request_retention_days=settings.request_retention_days,
        )
        sweeper.start()
        stack.push_async_callback(sweeper.stop)

        plans, proposals = PlanServicer(writer, reader, self._clock), ProposalServicer(writer, reader, self._clock)
        events = EventServicer(
            reader=reader,
            recent=recent,
            clock=self._clock,
            checkpoint_key=key,
            planner_identity=settings.planner_identity,
            log_key=log_key,
            stall_seconds=settings.watch_stall_seconds,
            max_lag_events=settings.watch_max_lag_events,
        )

        def register(server: grpc.aio.Server) -> None:
            store_service_pb2_grpc.add_PlanServiceServicer_to_server(plans, server)
            store_service_pb2_grpc.add_ProposalServiceServicer_to_server(proposals, server)
            store_service_pb2_grpc.add_EventServiceServicer_to_server(events, server)
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(IdentityServicer(), server)

        self.grpc = GrpcServer(
            settings,
            register,
            SERVICE_NAMES,
            map_error,
            listen=settings.store_listen,
            endless_methods=[WATCH_METHOD],
        )
        self.grpc.on_drain(writer.end_waits)
        writer.look_up_roles(self.grpc.authenticator.roles_of)
        if self.grpc.metrics is not None:
            self._metrics = StoreMetrics(self.grpc.metrics.registry, self._clock)
            writer.on_commit(self._metrics.committed)
            sweeper.on_backlog(self._metrics.set_backlog)
        self._database_changed(DatabaseState.WRITABLE, "")
        writer.on_state(self._database_changed)
        stack.push_async_callback(self._stop_serving)
        port = await self.grpc.start()
        await self.grpc.set_serving(True)
        await self._log_start(database)
        return port

    async def _stop_serving(self) -> None:
        await self.grpc.stop(self._stop_grace_seconds)

    _stop_grace_seconds: float | None = None

    def _database_changed(self, state: DatabaseState, problem: str) -> None:
        writable = state is DatabaseState.WRITABLE
        if self._metrics is not None:
            self._metrics.set_writable(writable)
        if problem:
            _log.error("the database takes no writes", problem=problem)
        if state is DatabaseState.FILE_GONE:
            self.failure = problem
            self._aside(self._stop_for_good())
        else:
            self._aside(self.grpc.health.set_serving(DATABASE_HEALTH, writable))

    async def _stop_for_good(self) -> None:
        await self.grpc.health.set_serving(DATABASE_HEALTH, False)
        await self.grpc.set_serving(False)
        self.grpc.request_stop()

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _log_start(self, database: Database) -> None:
        facts: dict[str, object] = {"address": self.address, "database": database.kind}
        async with database.reading.read() as session:
            facts["schema"] = await schema_revision(session)
            facts["version"] = await database_version(session)
        _log.info("serving", **facts)


def _database_options(settings: StoreSettings) -> DatabaseOptions:
    return DatabaseOptions(
        # Besides those that serve reads: the sweeper's, and one for whatever comes.
        read_connections=settings.read_connections + 2,
        # The store ends statements itself; PostgreSQL does so for a store that cannot any more.
        statement_seconds=settings.read_timeout_seconds + 5.0,
    )


def _rules(settings: StoreSettings) -> Rules:
    ttl = settings.approval_ttl_seconds
    return Rules(
        planner_identity=settings.planner_identity,
        lease_duration=round(settings.lease_seconds * SECOND),
        approval_ttl=None if ttl is None else round(ttl * SECOND),
        plan_max_attempts=settings.plan_max_attempts,
    )


def build_server(
    settings: StoreSettings, *, clock: Clock | None = None, fail_points: FailPoints | None = None
) -> StoreServer:
    """A store that is ready to be started. `clock` and `fail_points` are for tests."""
    return StoreServer(settings, clock=clock or SystemClock(), fail_points=fail_points)
