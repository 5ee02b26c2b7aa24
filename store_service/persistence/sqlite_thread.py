"""The connection that writes to a SQLite file, in a thread of its own.

What is to be done there goes over as one function per batch, not as one call per statement: each way there and back
wakes a thread, interrupts the event loop, and lets the two fight for the interpreter.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")


class SqliteThread:
    """Open it, run functions one after the other, close it. It can be opened again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._executor: ThreadPoolExecutor | None = None
        self._holder: Connection | None = None
        self._sqlite: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether functions can be run."""
        return self._sqlite is not None

    @property
    def in_transaction(self) -> bool:
        """Whether what was run last left a transaction open."""
        return self._sqlite is not None and self._sqlite.in_transaction

    async def open(self) -> None:
        """Connects, with all that the engine's listeners set. Raises what the engine raises; then it is not open."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-writer")
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._connect)
        except BaseException:
            await self.close()
            raise

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **_: P.kwargs
    ) -> T:
        """What `function` returns when it is given the connection and the arguments, there. Raises what it raises."""
        assert self._executor is not None, "open comes first"
        assert self._sqlite is not None, "open comes first"
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, self._sqlite, *arguments)

    async def close(self) -> None:
        """Closes the connection, whatever state it is in, and ends the thread. Never fails."""
        executor, self._executor, self._sqlite = self._executor, None, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self._disconnect)
            executor.shutdown(wait=False)

    def _connect(self) -> None:
        self._holder = self._engine.connect()
        driver = self._holder.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        self._sqlite = driver

    def _disconnect(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            with contextlib.suppress(Exception):
                holder.invalidate()
            with contextlib.suppress(Exception):
                holder.close()
