"""The write session on a SQLite file."""

# Names come from our own models and values are always parameters, so no statement can be injected into.
# ruff: noqa: S608

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, Table

from store_service.commands.working_set import ReadyQuery
from store_service.database import models
from store_service.database.rows import PLAN_COLUMNS, PROPOSAL_COLUMNS, LogHeadUnreadable, Row, head_from_row
from store_service.database.sqlite_thread import SqliteThread
from store_service.database.sqlite_writes import CommitFailed, RowsWrite, delete, insert, roll_back, update, write
from store_service.database.write_session import (
    ABOVE_ALL,
    FORGET,
    PLANS_IN_WORK,
    Candidates,
    Conflict,
    ConnectionLost,
    Unwritable,
    forgettable,
)
from store_service.domain.events import LogHead
from store_service.domain.instant import Instant

P = ParamSpec("P")
T = TypeVar("T")

# SQLite allows 500 parts in a compound select.
_ACTIONS_AT_ONCE = 100
_DUE = "(not_before_time IS NULL OR not_before_time <= ?)"
_IN_TIME = f"{_DUE} AND (expire_time IS NULL OR expire_time > ?)"
# Without statistics SQLite might prefer another index, and read a million rows to find one: it is told which.
_READY = (
    f"SELECT id, priority FROM proposals INDEXED BY ix_proposals_ready WHERE {models.READY} AND {_IN_TIME} "
    "ORDER BY priority DESC, id LIMIT ?"
)
_READY_ACTION = (
    f"SELECT * FROM (SELECT id, priority FROM proposals INDEXED BY ix_proposals_ready_action WHERE {models.READY} "
    f"AND action_name = ? AND {_IN_TIME} ORDER BY priority DESC, id LIMIT ?)"
)
_READY_PLAN = (
    f"SELECT id, priority FROM proposals INDEXED BY ix_proposals_plan_id WHERE plan_id = ? AND {models.IN_A_PLAN} "
    f"AND {models.READY} AND {_IN_TIME} AND (? = '[]' OR action_name IN (SELECT value FROM json_each(?))) "
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
_QUEUED = f"FROM plans INDEXED BY ix_plans_queue WHERE {models.QUEUED}"
_NEXT_PRIORITY = f"SELECT priority {_QUEUED} AND priority < ? AND {_DUE} ORDER BY priority DESC LIMIT 1"
# Hops from one requester to the next in the index, however many plans each has.
_REQUESTERS = (
    f"WITH RECURSIVE requester(name) AS (SELECT min(created_by) {_QUEUED} AND priority = ? UNION ALL "
    f"SELECT (SELECT min(created_by) {_QUEUED} AND priority = ? AND created_by > requester.name) FROM requester "
    "WHERE requester.name IS NOT NULL) SELECT name FROM requester WHERE name IS NOT NULL"
)
_OLDEST_PLANS = f"SELECT id {_QUEUED} AND priority = ? AND created_by = ? AND {_DUE} ORDER BY id LIMIT ?"
_SET_HEAD = "UPDATE log_head SET revision = ?, hash = ? WHERE id = 1 AND revision = ? AND hash = ?"
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
    """One connection, whose thread is visited once for all that a batch writes, and once for each thing it reads.

    Writes are kept until `send` or `commit`, which begins the transaction too: IMMEDIATE, so that the lock is taken
    first. Reads come before, outside of it. That is as good, because nobody else writes to the file: whoever did it all
    the same is found out by the head of the log and the versions, which are compared as they are replaced.
    """

    exclusive = True

    def __init__(self, engine: Engine) -> None:
        self._thread = SqliteThread(engine)
        # As the last commit left it; None when that is not certain.
        self._head: LogHead | None = None
        self._next_head: LogHead | None = None
        self._writes: list[RowsWrite] = []
        self._began = False

    async def begin(self) -> LogHead:
        if not self._thread.is_open:
            try:
                await self._thread.open()
            except Exception as error:
                raise Unwritable(str(error)) from error
        if self._head is None:
            try:
                rows = await self._run("SELECT revision, hash FROM log_head WHERE id = 1")
                if not rows:
                    raise Unwritable("the log has no head row")
                self._head = head_from_row(rows[0])
            except (LogHeadUnreadable, sqlite3.Error) as error:
                raise Unwritable(str(error)) from error
        return self._head

    async def send(self) -> None:
        await self._write(commit=False)
        self._began = True

    async def commit(self) -> None:
        await self._write(commit=True)
        self._began = False
        self._head, self._next_head = self._next_head or self._head, None

    async def rollback(self) -> None:
        self._writes.clear()
        self._next_head = None
        if self._began:
            await self._thread.run(roll_back)
            await self._check_that_it_ended()

    async def close(self) -> None:
        self._writes.clear()
        self._head = self._next_head = None
        self._began = False
        await self._thread.close()

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
        self._writes.append(RowsWrite(f"{FORGET} revision > ? AND revision <= ?", [(start, end)]))
        self._writes.append(RowsWrite("UPDATE log_head SET forgotten_revision = ? WHERE id = 1", [(end,)]))
        return int(end - start)

    async def event_hash(self, revision: int) -> bytes | None:
        rows = await self._run("SELECT hash FROM events WHERE revision = ?", revision)
        return rows[0][0] if rows else None

    async def ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[str]:
        if query.plan_id:
            wanted = json.dumps(sorted(query.action_names))
            return [row[0] for row in await self._run(_READY_PLAN, query.plan_id, now, now, wanted, wanted, limit)]
        if not query.action_names:
            return [row[0] for row in await self._run(_READY, now, now, limit)]
        names_left = sorted(query.action_names)
        found: list[tuple[int, str]] = []
        while names_left:
            names, names_left = names_left[:_ACTIONS_AT_ONCE], names_left[_ACTIONS_AT_ONCE:]
            statement = " UNION ALL ".join([_READY_ACTION] * len(names))
            parameters = [value for name in names for value in (name, now, now, limit)]
            found += [(-priority, proposal_id) for proposal_id, priority in await self._run(statement, *parameters)]
        found.sort()
        return [proposal_id for _, proposal_id in found[:limit]]

    async def plans_in_work(self) -> list[tuple[str, int]]:
        return await self._run(PLANS_IN_WORK)

    async def queued_plans(self, now: Instant, limit: int) -> list[Candidates]:
        return await self._visit(_queued_plans, now, limit)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._writes.append(insert(table, rows))

    async def update(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        self._writes.append(update(table, tuple(columns), rows))

    async def delete(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        self._writes.append(delete(table, columns, rows))

    async def set_head(self, before: LogHead, head: LogHead) -> None:
        row = (head.revision, head.hash, before.revision, before.hash)
        self._writes.append(RowsWrite(_SET_HEAD, [row], "the head of the log moved under the writer"))
        self._next_head = head

    async def _run(self, sql: str, *parameters: object) -> list[Any]:
        return await self._visit(_fetch, sql, parameters)

    async def _visit(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """What the function returns in the connection's thread."""
        assert self._thread.is_open, "begin comes first"
        try:
            return await self._thread.run(function, *arguments, **options)
        except sqlite3.Error as error:
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error

    async def _write(self, *, commit: bool) -> None:
        assert self._thread.is_open, "begin comes first"
        writes, self._writes = self._writes, []
        try:
            await self._thread.run(write, writes, not self._began, commit)
        except CommitFailed as failed:
            await self._check_that_it_ended()
            translated = _translated(failed.error)
            if isinstance(translated, ConnectionLost):
                # The frames may be in the WAL though the sync failed: after a crash they could count.
                raise ConnectionLost(str(translated), commit_sent=True) from failed.error
            raise translated from failed.error
        except Exception as error:
            await self._check_that_it_ended()
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error

    async def _check_that_it_ended(self) -> None:
        """A connection that could not roll back is given up."""
        self._began = False
        self._head = self._next_head = None
        if self._thread.in_transaction:
            await self.close()


def _fetch(connection: sqlite3.Connection, sql: str, parameters: Sequence[object]) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def _queued_plans(connection: sqlite3.Connection, now: Instant, limit: int) -> list[Candidates]:
    """All in one visit of the thread: there may be thousands of requesters."""
    found: list[Candidates] = []
    count, priority = 0, ABOVE_ALL
    while count < limit:
        top = _fetch(connection, _NEXT_PRIORITY, (priority, now))
        if not top:
            break
        [(priority,)] = top
        for (requester,) in _fetch(connection, _REQUESTERS, (priority, priority)):
            rows = _fetch(connection, _OLDEST_PLANS, (priority, requester, now, limit))
            found.append(Candidates(priority, requester, [plan_id for (plan_id,) in rows]))
            count += len(rows)
    return found


def _translated(error: Exception) -> Exception:
    # The low byte is the primary code, the rest says more exactly which.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict(str(error))
    if code == sqlite3.SQLITE_IOERR:
        return ConnectionLost(str(error))
    if code in _UNWRITABLE:
        return Unwritable(str(error))
    # One command's fault: a value too large, for example.
    return error
