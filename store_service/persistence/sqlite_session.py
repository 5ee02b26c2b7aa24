"""The write session on a SQLite file."""

# Names come from our own models and values are always parameters, so no statement can be injected into.
# ruff: noqa: S608

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import aiosqlite
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store_service.commands.working_set import ReadyQuery
from store_service.domain.events import LogHead
from store_service.domain.instant import Instant
from store_service.persistence import models
from store_service.persistence.rows import PLAN_COLUMNS, PROPOSAL_COLUMNS, Row
from store_service.persistence.write_session import (
    FORGET,
    Candidates,
    Conflict,
    ConnectionLost,
    Unwritable,
    forgettable,
    guard_of,
)

# SQLite allows 500 parts in a compound select.
_ACTIONS_AT_ONCE = 100
_DUE = "(not_before_time IS NULL OR not_before_time <= ?)"
# Without statistics SQLite might prefer another index, and read a million rows to find one: it is told which.
_READY = (
    f"SELECT id, priority FROM proposals INDEXED BY ix_proposals_ready WHERE {models.READY} AND {_DUE} "
    "ORDER BY priority DESC, id LIMIT ?"
)
_READY_ACTION = (
    f"SELECT * FROM (SELECT id, priority FROM proposals INDEXED BY ix_proposals_ready_action WHERE {models.READY} "
    f"AND action_name = ? AND {_DUE} ORDER BY priority DESC, id LIMIT ?)"
)
_READY_PLAN = (
    f"SELECT id, priority FROM proposals INDEXED BY ix_proposals_plan_id WHERE plan_id = ? AND {models.IN_A_PLAN} "
    f"AND {models.READY} AND {_DUE} AND (?3 = '[]' OR action_name IN (SELECT value FROM json_each(?3))) "
    "ORDER BY priority DESC, id LIMIT ?"
)
_DEPENDENTS = (
    "SELECT depends_on_id, proposal_id FROM dependencies WHERE depends_on_id IN (SELECT value FROM json_each(?))"
)
_DEPENDENTS_ALL_THE_WAY = (
    "WITH RECURSIVE reached(id) AS (SELECT value FROM json_each(?) UNION SELECT d.proposal_id FROM dependencies AS d "
    "JOIN reached AS r ON d.depends_on_id = r.id) "
    "SELECT d.depends_on_id, d.proposal_id FROM dependencies AS d JOIN reached AS r ON d.depends_on_id = r.id"
)
_ANSWERS = (
    "SELECT request_id, actor, method, fingerprint, answer, revision, snapshot FROM events "
    f"INDEXED BY ix_events_request_id WHERE {models.ANSWERS} AND request_id IN (SELECT value FROM json_each(?))"
)
_TIMES = "SELECT revision, time FROM events WHERE revision > ? ORDER BY revision LIMIT ?"
_END_OF_COMMIT = (
    "SELECT coalesce((SELECT revision - 1 FROM events WHERE revision > ? AND time <> ? ORDER BY revision LIMIT 1), "
    "(SELECT revision FROM log_head WHERE id = 1))"
)
_PLANS_IN_WORK = f"SELECT created_by, count(*) FROM plans WHERE {models.PLANNING} GROUP BY created_by"
_QUEUED = f"FROM plans INDEXED BY ix_plans_queue WHERE {models.QUEUED}"
_NEXT_PRIORITY = f"SELECT priority {_QUEUED} AND priority < ? AND {_DUE} ORDER BY priority DESC LIMIT 1"
# Hops from one requester to the next in the index, however many plans each has.
_REQUESTERS = (
    f"WITH RECURSIVE requester(name) AS (SELECT min(created_by) {_QUEUED} AND priority = ?1 UNION ALL "
    f"SELECT (SELECT min(created_by) {_QUEUED} AND priority = ?1 AND created_by > requester.name) FROM requester "
    "WHERE requester.name IS NOT NULL) SELECT name FROM requester WHERE name IS NOT NULL"
)
_OLDEST_PLANS = f"SELECT id {_QUEUED} AND priority = ? AND created_by = ? AND {_DUE} ORDER BY id LIMIT ?"
_ABOVE_ALL = 1_000_000
_UNWRITABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}


class SqliteWriteSession:
    """One connection, whose transactions begin IMMEDIATE: the lock is taken before anything is read.

    The connection is the engine's, with the pragmas that `database` sets; statements go to aiosqlite directly, one
    thread switch each.
    """

    exclusive = True

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._holder: AsyncConnection | None = None
        self._sqlite: aiosqlite.Connection | None = None

    async def begin(self) -> LogHead:
        if self._sqlite is None:
            await self._connect()
        await self._run("BEGIN IMMEDIATE")
        rows = await self._run("SELECT revision, hash FROM log_head WHERE id = 1")
        if not rows:
            raise Unwritable("the log has no head row")
        return LogHead(*rows[0])

    async def commit(self) -> None:
        try:
            await self._run("COMMIT")
        except ConnectionLost as error:
            # The frames may be in the WAL though the sync failed: after a crash they could count.
            raise ConnectionLost(str(error), commit_sent=True) from error

    async def rollback(self) -> None:
        if self._sqlite is None:
            return
        try:
            if self._sqlite.in_transaction:
                await self._sqlite.execute_fetchall("ROLLBACK")
        except (sqlite3.Error, ValueError):
            await self.close()

    async def close(self) -> None:
        holder, self._holder, self._sqlite = self._holder, None, None
        if holder is not None:
            with contextlib.suppress(Exception):
                await holder.invalidate()
            await holder.close()

    async def proposals(self, ids: Sequence[str]) -> list[Row]:
        columns = ", ".join(PROPOSAL_COLUMNS)
        return await self._run(
            f"SELECT {columns} FROM proposals WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(ids),
        )

    async def plans(self, ids: Sequence[str]) -> list[Row]:
        columns = ", ".join(PLAN_COLUMNS)
        return await self._run(
            f"SELECT {columns} FROM plans WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(ids),
        )

    async def proposal_ids_of(self, plan_ids: Sequence[str]) -> list[tuple[str, str]]:
        return await self._run(
            "SELECT plan_id, id FROM proposals INDEXED BY ix_proposals_plan_id "
            f"WHERE {models.IN_A_PLAN} AND plan_id IN (SELECT value FROM json_each(?))",
            json.dumps(plan_ids),
        )

    async def dependents(self, ids: Sequence[str], *, all_the_way: bool) -> list[tuple[str, str]]:
        return await self._run(_DEPENDENTS_ALL_THE_WAY if all_the_way else _DEPENDENTS, json.dumps(ids))

    async def answers(self, request_ids: Sequence[str]) -> list[Row]:
        return await self._run(_ANSWERS, json.dumps(request_ids))

    async def forget_answers(self, before: Instant, limit: int) -> int:
        [(start,)] = await self._run("SELECT forgotten_revision FROM log_head WHERE id = 1")
        last = forgettable(await self._run(_TIMES, start, limit), before)
        if last is None:
            return 0
        [(end,)] = await self._run(_END_OF_COMMIT, *last)
        await self._run(f"{FORGET} revision > ? AND revision <= ?", start, end)
        await self._run("UPDATE log_head SET forgotten_revision = ? WHERE id = 1", end)
        return int(end - start)

    async def event_hash(self, revision: int) -> bytes | None:
        rows = await self._run("SELECT hash FROM events WHERE revision = ?", revision)
        return rows[0][0] if rows else None

    async def ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[str]:
        if query.plan_id:
            wanted = json.dumps(sorted(query.action_names))
            return [row[0] for row in await self._run(_READY_PLAN, query.plan_id, now, wanted, limit)]
        if not query.action_names:
            return [row[0] for row in await self._run(_READY, now, limit)]
        names_left = sorted(query.action_names)
        found: list[tuple[int, str]] = []
        while names_left:
            names, names_left = names_left[:_ACTIONS_AT_ONCE], names_left[_ACTIONS_AT_ONCE:]
            statement = " UNION ALL ".join([_READY_ACTION] * len(names))
            parameters = [value for name in names for value in (name, now, limit)]
            found += [(-priority, proposal_id) for proposal_id, priority in await self._run(statement, *parameters)]
        found.sort()
        return [proposal_id for _, proposal_id in found[:limit]]

    async def plans_in_work(self) -> list[tuple[str, int]]:
        return await self._run(_PLANS_IN_WORK)

    async def queued_plans(self, now: Instant, limit: int) -> list[Candidates]:
        found: list[Candidates] = []
        count, priority = 0, _ABOVE_ALL
        while count < limit:
            top = await self._run(_NEXT_PRIORITY, priority, now)
            if not top:
                break
            [(priority,)] = top
            for (requester,) in await self._run(_REQUESTERS, priority):
                rows = await self._run(_OLDEST_PLANS, priority, requester, now, limit)
                found.append(Candidates(priority, requester, [plan_id for (plan_id,) in rows]))
                count += len(rows)
        return found

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        names = ", ".join(column.key for column in table.columns)
        places = ", ".join("?" * len(table.columns))
        await self._run_many(f"INSERT INTO {table.name} ({names}) VALUES ({places})", rows)

    async def update(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        settings = ", ".join(f"{name} = ?" for name in columns)
        statement = f"UPDATE {table.name} SET {settings} WHERE id = ? AND {guard_of(table)} = ?"
        if await self._run_many(statement, rows) != len(rows):
            raise Conflict(f"{table.name} changed under the writer")

    async def delete(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        condition = " AND ".join(f"{name} = ?" for name in columns)
        await self._run_many(f"DELETE FROM {table.name} WHERE {condition}", rows)

    async def set_head(self, before: LogHead, head: LogHead) -> None:
        statement = "UPDATE log_head SET revision = ?, hash = ? WHERE id = 1 AND revision = ? AND hash = ?"
        if await self._run_many(statement, [(head.revision, head.hash, before.revision, before.hash)]) != 1:
            raise Conflict("the head of the log moved under the writer")

    async def _connect(self) -> None:
        try:
            self._holder = await self._engine.connect()
            driver = (await self._holder.get_raw_connection()).driver_connection
        except Exception as error:
            await self.close()
            raise Unwritable(str(error)) from error
        assert isinstance(driver, aiosqlite.Connection)
        self._sqlite = driver

    async def _run(self, sql: str, *parameters: object) -> list[Any]:
        connection = self._sqlite
        assert connection is not None, "begin comes first"
        try:
            return list(await connection.execute_fetchall(sql, parameters))
        except (sqlite3.Error, ValueError) as error:
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error

    async def _run_many(self, sql: str, rows: Iterable[Row]) -> int:
        connection = self._sqlite
        assert connection is not None, "begin comes first"
        try:
            cursor = await connection.executemany(sql, rows)
        except (sqlite3.Error, ValueError) as error:
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error
        return cursor.rowcount


def _translated(error: Exception) -> Exception:
    # The low byte is the primary code, the rest says more exactly which.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict(str(error))
    # aiosqlite says with a ValueError that its connection is closed.
    if code == sqlite3.SQLITE_IOERR or isinstance(error, ValueError):
        return ConnectionLost(str(error))
    if code in _UNWRITABLE:
        return Unwritable(str(error))
    # One command's fault: a value too large, for example.
    return error
