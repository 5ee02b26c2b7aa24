"""The write session on a PostgreSQL server, next to those of other store processes."""

from __future__ import annotations

# Names come from our own models and values are always parameters, so no statement can be injected into.
# ruff: noqa: S608
import contextlib
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table, Text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store_service.commands.working_set import ReadyQuery
from store_service.database import models
from store_service.database.rows import PLAN_COLUMNS, PROPOSAL_COLUMNS, LogHeadUnreadable, Row, head_from_row
from store_service.database.write_session import (
    ABOVE_ALL,
    FORGET,
    PLANS_IN_WORK,
    Candidates,
    Conflict,
    ConnectionLost,
    Unwritable,
    forgettable,
    guard_of,
)
from store_service.domain.events import LogHead
from store_service.domain.instant import Instant

if TYPE_CHECKING:
    import asyncpg

_Result = TypeVar("_Result")

# unique violation, serialization failure, deadlock
_CONFLICTS = {"23505", "40001", "40P01"}
# The server shuts down, crashed or starts up; a session that was idle for too long was ended.
_GOODBYES = {"57P01", "57P02", "57P03", "25P03"}
# No resources, objects in use (a lock that was not given in time), operator intervention, system and internal errors.
_UNWRITABLE = {"53", "55", "57", "58", "XX"}
# A server that only reads; a right that was taken away; a table, column or schema that is not there. Anything else is
# one command's fault.
_UNWRITABLE_STATES = {"25006", "42501", "42P01", "42703", "3F000"}
# A process that stopped dead while it holds the head of the log must not stop the others for longer than this.
_SESSION_SETTINGS = (
    "SET lock_timeout = '15s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET synchronous_commit = 'on'",
)
_DUE = "(not_before_time IS NULL OR not_before_time <= {now})"
_IN_TIME = "(not_before_time IS NULL OR not_before_time <= $1) AND (expire_time IS NULL OR expire_time > $1)"
# SKIP LOCKED: a row that somebody holds by hand (psql, a backup script) does not hold up those who claim.
_READY = (
    f"SELECT id FROM proposals WHERE {models.READY} AND {_IN_TIME} "
    "ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED"
)
_READY_ACTION = (
    "SELECT p.id FROM unnest($3::text[]) AS a(name) CROSS JOIN LATERAL ("
    f"SELECT id, priority FROM proposals WHERE {models.READY} AND action_name = a.name AND {_IN_TIME} "
    "ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED) AS p ORDER BY p.priority DESC, p.id LIMIT $2"
)
_READY_PLAN = (
    f"SELECT id FROM proposals WHERE plan_id = $3 AND {models.IN_A_PLAN} AND {models.READY} "
    f"AND {_IN_TIME} AND (cardinality($4::text[]) = 0 OR action_name = ANY($4::text[])) "
    "ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED"
)
_DEPENDENTS = "SELECT depends_on_id, proposal_id FROM dependencies WHERE depends_on_id = ANY($1::text[])"
_DEPENDENTS_ALL_THE_WAY = (
    "WITH RECURSIVE reached(id) AS (SELECT unnest($1::text[]) UNION SELECT d.proposal_id FROM dependencies AS d "
    "JOIN reached AS r ON d.depends_on_id = r.id) "
    "SELECT d.depends_on_id, d.proposal_id FROM dependencies AS d JOIN reached AS r ON d.depends_on_id = r.id"
)
_ANSWERS = (
    "SELECT request_id, actor, method, fingerprint, answer, revision, snapshot FROM events "
    f"WHERE {models.ANSWERS} AND request_id = ANY($1::text[])"
)
_TIMES = "SELECT revision, time FROM events WHERE revision > $1 ORDER BY revision LIMIT $2"
_END_OF_COMMIT = (
    "SELECT coalesce((SELECT revision - 1 FROM events WHERE revision > $1 AND time <> $2 ORDER BY revision LIMIT 1), "
    "(SELECT revision FROM log_head WHERE id = 1))"
)
_QUEUED = f"FROM plans WHERE {models.QUEUED}"
_NEXT_PRIORITY = (
    f"SELECT priority {_QUEUED} AND priority < $1 AND {_DUE.format(now='$2')} ORDER BY priority DESC LIMIT 1"
)
# Hops from one requester to the next in the index, however many plans each has, and takes the oldest of each.
_QUEUED_PLANS = (
    f"WITH RECURSIVE requester(name) AS (SELECT min(created_by) {_QUEUED} AND priority = $1 UNION ALL "
    f"SELECT (SELECT min(created_by) {_QUEUED} AND priority = $1 AND created_by > requester.name) FROM requester "
    "WHERE requester.name IS NOT NULL) "
    "SELECT requester.name, p.id FROM requester CROSS JOIN LATERAL ("
    f"SELECT id {_QUEUED} AND priority = $1 AND created_by = requester.name AND {_DUE.format(now='$2')} "
    "ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) AS p WHERE requester.name IS NOT NULL ORDER BY p.id"
)


class PostgresWriteSession:
    """One connection. Its transactions are READ COMMITTED and begin by locking the head of the log.

    Every write of every store process holds that lock from its first read to its commit. So all of them see each
    other's batches in whole and in one order: no batch works on stale rows, two never claim the same proposal, and
    revisions have no gaps. The guards on versions remain for those who write past the store.
    """

    exclusive = False

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._holder: AsyncConnection | None = None
        self._postgres: asyncpg.Connection | None = None

    async def begin(self) -> LogHead:
        if self._postgres is None:
            await self._connect()
        await self._execute("BEGIN")
        rows = await self._fetch("SELECT revision, hash FROM log_head WHERE id = 1 FOR UPDATE")
        if not rows:
            raise Unwritable("the log has no head row")
        try:
            return head_from_row(rows[0])
        except LogHeadUnreadable as error:
            raise Unwritable(str(error)) from error

    async def send(self) -> None:
        """Nothing is kept."""

    async def commit(self) -> None:
        try:
            answer = await self._execute("COMMIT")
        except ConnectionLost as error:
            raise ConnectionLost(str(error), commit_sent=True) from error
        if answer != "COMMIT":
            # The server answers ROLLBACK when the transaction had failed before.
            raise Conflict("the transaction had failed before its commit")

    async def rollback(self) -> None:
        connection = self._postgres
        if connection is None:
            return
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except Exception:
            await self.close()

    async def close(self) -> None:
        holder, self._holder, self._postgres = self._holder, None, None
        if holder is not None:
            with contextlib.suppress(Exception):
                await holder.invalidate()
            with contextlib.suppress(Exception):
                await holder.close()

    async def proposals(self, ids: Sequence[str]) -> list[Row]:
        columns = ", ".join(PROPOSAL_COLUMNS)
        return await self._fetch(f"SELECT {columns} FROM proposals WHERE id = ANY($1::text[])", ids)

    async def plans(self, ids: Sequence[str]) -> list[Row]:
        columns = ", ".join(PLAN_COLUMNS)
        return await self._fetch(f"SELECT {columns} FROM plans WHERE id = ANY($1::text[])", ids)

    async def proposal_ids_of(self, plan_ids: Sequence[str]) -> list[tuple[str, str]]:
        return await self._fetch(
            f"SELECT plan_id, id FROM proposals WHERE {models.IN_A_PLAN} AND plan_id = ANY($1::text[])",
            plan_ids,
        )

    async def dependents(self, ids: Sequence[str], *, all_the_way: bool) -> list[tuple[str, str]]:
        return await self._fetch(_DEPENDENTS_ALL_THE_WAY if all_the_way else _DEPENDENTS, ids)

    async def answers(self, request_ids: Sequence[str]) -> list[Row]:
        return await self._fetch(_ANSWERS, request_ids)

    async def forget_answers(self, before: Instant, limit: int) -> int:
        [(start,)] = await self._fetch("SELECT forgotten_revision FROM log_head WHERE id = 1")
        last = forgettable(await self._fetch(_TIMES, start, limit), before)
        if last is None:
            return 0
        [(end,)] = await self._fetch(_END_OF_COMMIT, *last)
        await self._execute(f"{FORGET} revision > $1 AND revision <= $2", start, end)
        await self._execute("UPDATE log_head SET forgotten_revision = $1 WHERE id = 1", end)
        return int(end - start)

    async def event_hash(self, revision: int) -> bytes | None:
        rows = await self._fetch("SELECT hash FROM events WHERE revision = $1", revision)
        return bytes(rows[0][0]) if rows else None

    async def ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[str]:
        names = sorted(query.action_names)
        if query.plan_id:
            rows = await self._fetch(_READY_PLAN, now, limit, query.plan_id, names)
        elif names:
            rows = await self._fetch(_READY_ACTION, now, limit, names)
        else:
            rows = await self._fetch(_READY, now, limit)
        return [row[0] for row in rows]

    async def plans_in_work(self) -> list[tuple[str, int]]:
        return await self._fetch(PLANS_IN_WORK)

    async def queued_plans(self, now: Instant, limit: int) -> list[Candidates]:
        found: list[Candidates] = []
        count, priority = 0, ABOVE_ALL
        while count < limit:
            top = await self._fetch(_NEXT_PRIORITY, priority, now)
            if not top:
                break
            priority = top[0][0]
            by_requester: dict[str, list[str]] = {}
            for requester, plan_id in await self._fetch(_QUEUED_PLANS, priority, now, limit):
                by_requester.setdefault(requester, []).append(plan_id)
                count += 1
            found += [Candidates(priority, requester, plan_ids) for requester, plan_ids in by_requester.items()]
        return found

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        names = ", ".join(column.key for column in table.columns)
        arrays = ", ".join(f"${place}::{_type(table, name)}[]" for place, name in enumerate(table.columns.keys(), 1))
        await self._execute(
            f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})", *zip(*rows, strict=True)
        )

    async def update(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        guard = guard_of(table)
        arrays = ", ".join(f"${place}::{_type(table, name)}[]" for place, name in enumerate((*columns, "id", guard), 1))
        names = ", ".join(f"v_{name}" for name in columns)
        settings = ", ".join(f"{name} = v.v_{name}" for name in columns)
        answer = await self._execute(
            f"UPDATE {table.name} AS t SET {settings} FROM unnest({arrays}) AS v({names}, key_id, key_version) "
            f"WHERE t.id = v.key_id AND t.{guard} = v.key_version",
            *zip(*rows, strict=True),
        )
        if answer != f"UPDATE {len(rows)}":
            raise Conflict(f"{table.name} changed under the writer")

    async def delete(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        arrays = ", ".join(f"${place}::{_type(table, name)}[]" for place, name in enumerate(columns, 1))
        names = ", ".join(columns)
        await self._execute(
            f"DELETE FROM {table.name} WHERE ({names}) IN (SELECT * FROM unnest({arrays}))",
            *zip(*rows, strict=True),
        )

    async def set_head(self, before: LogHead, head: LogHead) -> None:
        answer = await self._execute(
            "UPDATE log_head SET revision = $1, hash = $2 WHERE id = 1 AND revision = $3 AND hash = $4",
            head.revision,
            head.hash,
            before.revision,
            before.hash,
        )
        if answer != "UPDATE 1":
            raise Conflict("the head of the log moved under the writer")

    async def _connect(self) -> None:
        try:
            self._holder = await self._engine.connect()
            self._postgres = (await self._holder.get_raw_connection()).driver_connection
            for setting in _SESSION_SETTINGS:
                await self._execute(setting)
        except (ConnectionLost, Unwritable):
            await self.close()
            raise
        except Exception as error:
            await self.close()
            raise ConnectionLost(str(error)) from error

    async def _fetch(self, sql: str, *parameters: object) -> list[Any]:
        assert self._postgres is not None, "begin comes first"
        return await self._translating(self._postgres.fetch(sql, *parameters))

    async def _execute(self, sql: str, *parameters: object) -> str:
        assert self._postgres is not None, "begin comes first"
        return await self._translating(self._postgres.execute(sql, *parameters))

    async def _translating(self, call: Awaitable[_Result]) -> _Result:
        import asyncpg

        try:
            return await call
        except asyncpg.PostgresError as error:
            state = error.sqlstate or ""
            if state in _CONFLICTS:
                raise Conflict(str(error)) from error
            if state.startswith("08") or state in _GOODBYES:
                await self.close()
                raise ConnectionLost(str(error)) from error
            if state[:2] in _UNWRITABLE or state in _UNWRITABLE_STATES:
                raise Unwritable(str(error)) from error
            raise
        except (asyncpg.InterfaceError, OSError, TimeoutError) as error:
            if isinstance(error, ValueError):
                # A value that fits no parameter: only the command it came from is to blame.
                raise
            await self.close()
            raise ConnectionLost(str(error)) from error


def _type(table: Table, name: str) -> str:
    kind = table.columns[name].type
    if isinstance(kind, Text):
        return "text"
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "integer"
    if isinstance(kind, Boolean):
        return "boolean"
    assert isinstance(kind, LargeBinary), f"{table.name}.{name} has no array type here"
    return "bytea"
