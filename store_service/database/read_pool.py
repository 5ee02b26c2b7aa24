"""Connections that only read. They never wait for the writer: SQLite's WAL and PostgreSQL give each statement a
snapshot of its own.

Statements go to the driver that SQLAlchemy's engine opened and configured. Through the engine a point read from SQLite
costs 640 us here, nearly all of it thread switches; straight to the driver 47 us.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store_service.domain.errors import DatabaseUnavailable

Row: TypeAlias = "Sequence[Any]"
Dialect: TypeAlias = Literal["sqlite", "postgresql"]

_STOP_SECONDS = 2.0


class ReadPool:
    """Up to `size` connections, opened when needed, used last-in first-out so that few stay warm."""

    def __init__(self, engine: AsyncEngine, *, size: int, wait_seconds: float = 5.0) -> None:
        """A read that finds no free connection within wait_seconds fails with DatabaseUnavailable."""
        self._engine = engine
        self._wait_seconds = wait_seconds
        self._free: asyncio.LifoQueue[AsyncConnection | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)
        self._size = size
        self.dialect: Dialect = "sqlite" if engine.dialect.name == "sqlite" else "postgresql"

    async def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Run one SELECT; cancelling the call ends the statement. Raises DatabaseUnavailable."""
        try:
            # Not wait_for(): up to Python 3.11 it loses a cancellation that comes together with the connection.
            async with asyncio.timeout(self._wait_seconds):
                connection = await self._free.get()
        except TimeoutError:
            raise DatabaseUnavailable("all connections for reading were busy") from None
        try:
            if connection is not None:
                try:
                    return await self._run(connection, sql, parameters)
                except Exception as problem:
                    if not _is_of_the_database(problem):
                        raise
                    # It may have died since it was last used, with the server for example: a read may be repeated.
                    broken, connection = connection, None
                    await _give_up(broken)
            connection = await self._engine.connect()
            return await self._run(connection, sql, parameters)
        except BaseException as problem:
            cancelled = isinstance(problem, asyncio.CancelledError)
            if cancelled and connection is not None and await asyncio.shield(self._stop(connection)):
                raise
            # The statement may still run, and its answer would be taken for the next one's.
            await _give_up(connection)
            connection = None
            if _is_of_the_database(problem):
                raise DatabaseUnavailable(f"{type(problem).__name__}: {problem}") from problem
            raise
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close every connection; waits for reads that are under way."""
        for _ in range(self._size):
            connection = await self._free.get()
            if connection is not None:
                await connection.close()

    async def _run(self, connection: AsyncConnection, sql: str, parameters: Sequence[Any]) -> list[Row]:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if self.dialect == "sqlite":
            rows: list[Row] = list(await driver.execute_fetchall(sql, parameters))
        else:
            rows = list(await driver.fetch(sql, *parameters))
        return rows

    async def _stop(self, connection: AsyncConnection) -> bool:
        """End the statement that nobody waits for any more. True when the connection can be used again."""
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            if self.dialect == "sqlite":
                # What comes after it in the connection's thread is done when it has ended.
                after = asyncio.ensure_future(driver.execute_fetchall("SELECT 1"))
                while not after.done():
                    # Again and again: an interrupt before the statement began would not be noticed.
                    await driver.interrupt()
                    await asyncio.wait({after}, timeout=0.01)
                with contextlib.suppress(sqlite3.OperationalError):
                    # It may have been hit instead.
                    await after
            else:
                # asyncpg has sent a request to cancel; the next statement waits for its effect.
                async with asyncio.timeout(_STOP_SECONDS):
                    await driver.execute("SELECT 1")
        except Exception:
            return False
        return True


async def _give_up(connection: AsyncConnection | None) -> None:
    if connection is not None:
        await asyncio.shield(connection.invalidate())
        await asyncio.shield(connection.close())


def _is_of_the_database(problem: BaseException) -> bool:
    """asyncpg is an extra: its errors are known by where they come from. ValueError: aiosqlite's of a closed one."""
    return isinstance(problem, (SQLAlchemyError, OSError, sqlite3.Error, ValueError)) or type(
        problem
    ).__module__.startswith("asyncpg")
