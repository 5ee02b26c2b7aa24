"""Connections that only read. They never wait for the writer: SQLite's WAL and PostgreSQL give each statement a
snapshot of its own.

Statements go to the driver that SQLAlchemy's engine opened and configured. Through the engine a point read from SQLite
costs 640 us here, nearly all of it thread switches; straight to the driver 47 us.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store_service.domain.errors import DatabaseUnavailable

Row: TypeAlias = "Sequence[Any]"
Dialect: TypeAlias = Literal["sqlite", "postgresql"]


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
        """Run one SELECT. Raises DatabaseUnavailable."""
        try:
            connection = await asyncio.wait_for(self._free.get(), self._wait_seconds)
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
            # Also when cancelled: the statement may still run, and its answer would be taken for the next one's.
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


async def _give_up(connection: AsyncConnection | None) -> None:
    if connection is not None:
        await asyncio.shield(connection.invalidate())
        await asyncio.shield(connection.close())


def _is_of_the_database(problem: BaseException) -> bool:
    """asyncpg is an extra: its errors are known by where they come from. ValueError: aiosqlite's of a closed one."""
    return isinstance(problem, (SQLAlchemyError, OSError, sqlite3.Error, ValueError)) or type(
        problem
    ).__module__.startswith("asyncpg")
