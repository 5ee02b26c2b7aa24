"""SQLAlchemy's aiosqlite dialect with one visit of the connection's thread per statement.

SQLAlchemy's own adapter visits it for the cursor, the statement, its rows and the close, two thread switches each time.
Here the statement's rows are fetched where it ran. Also: a cancelled call ends its statement, and
`Select.with_hint` may say INDEXED BY. URLs begin with `sqlite+plangate://`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.util.concurrency import await_only

T = TypeVar("T")

DRIVER_NAME = "sqlite+plangate"


class Fetched:
    """What a statement gave, rows included."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.description = cursor.description
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid
        self.rows = deque(cursor.fetchall()) if cursor.description else deque()

    def fetchall(self) -> Fetched:
        """Itself: aiosqlite's execute_fetchall returns this."""
        return self


class FetchingConnection(sqlite3.Connection):
    """A connection whose `execute` fetches all rows."""

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return Fetched(super().execute(sql, parameters))


class FetchingCursor:
    """A DBAPI cursor over an aiosqlite connection that was made by FetchingConnection."""

    server_side = False
    arraysize = 1

    def __init__(self, connection: AsyncAdapt_dbapi_connection) -> None:
        self._adapted = connection
        self._driver: Any = connection.driver_connection
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: deque[Any] = deque()

    def execute(self, operation: str, parameters: Sequence[Any] | None = None) -> None:
        found: Fetched = self._run(self._driver.execute_fetchall(operation, parameters or ()))
        self.description, self.rowcount, self.lastrowid = found.description, found.rowcount, found.lastrowid
        self._rows = found.rows

    def executemany(self, operation: str, parameters: Sequence[Sequence[Any]]) -> None:
        cursor = self._run(self._driver.executemany(operation, parameters))
        self.description, self.rowcount = None, cursor.rowcount

    def fetchone(self) -> Any | None:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = list(self._rows), deque()
        return rows

    def close(self) -> None:
        self._rows = deque()

    async def _async_soft_close(self) -> None:
        """Part of what SQLAlchemy asks of an adapted cursor: its rows are here already."""

    def _run(self, work: Awaitable[T]) -> T:
        try:
            return await_only(self._ended_when_cancelled(work))
        except ValueError as error:
            if error.args and "onnection" in str(error.args[0]):
                # How aiosqlite says that the connection is closed.
                raise sqlite3.OperationalError("Connection closed") from error
            raise

    async def _ended_when_cancelled(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            await asyncio.shield(self._interrupt())
            raise

    async def _interrupt(self) -> None:
        # What comes after the statement in the connection's thread is done when that has ended.
        after = asyncio.ensure_future(self._driver.execute_fetchall("PRAGMA query_only"))
        while not after.done():
            # Again and again: an interrupt before the statement began is not noticed.
            await self._driver.interrupt()
            await asyncio.wait({after}, timeout=0.01)
        with contextlib.suppress(sqlite3.OperationalError):
            # It may have been interrupted instead.
            await after


class FetchingAdapter(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    def cursor(self, server_side: bool = False) -> Any:
        return super().cursor(server_side) if server_side else FetchingCursor(self)


class FetchingDbapi(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *arguments: Any, **options: Any) -> FetchingAdapter:
        connection = super().connect(*arguments, factory=FetchingConnection, **options)
        return FetchingAdapter(self, connection.driver_connection)


class HintingCompiler(SQLiteCompiler):
    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


class FetchingDialect(SQLiteDialect_aiosqlite):
    """Registered as `sqlite+plangate`."""

    driver = "plangate"
    supports_statement_cache = True
    statement_compiler = HintingCompiler

    @classmethod
    def import_dbapi(cls) -> Any:
        return FetchingDbapi(aiosqlite, sqlite3)


registry.register("sqlite.plangate", __name__, FetchingDialect.__name__)
