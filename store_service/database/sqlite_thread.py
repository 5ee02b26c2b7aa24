"""The connection that writes to a SQLite file, in a thread of its own.

What is to be done there goes over as one function per batch, not as one call per statement: each way there and back
wakes a thread, interrupts the event loop, and lets the two fight for the interpreter.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")


class SqliteThread:
    """Open it, run functions one after the other, close it. It can be opened again. For one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread: _Thread | None = None
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
        self._thread = _Thread()
        try:
            await self._thread.run(self._connect)
        except BaseException:
            await self.close()
            raise

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """What `function` returns when it is given the connection and the arguments, there. Raises what it raises."""
        assert self._thread is not None, "open comes first"
        assert self._sqlite is not None, "open comes first"
        return await self._thread.run(partial(function, self._sqlite, *arguments, **options))

    async def close(self) -> None:
        """Closes the connection, whatever state it is in, and ends the thread. Never fails."""
        thread, self._thread, self._sqlite = self._thread, None, None
        if thread is not None:
            await thread.run(self._disconnect)
            thread.end()

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


class _Thread:
    """What an executor with one thread does, for half the event loop's CPU."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # A daemon, so that a process that was not told to close its store can end.
        threading.Thread(target=self._run, name="sqlite-writer", daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((future, function))
        return await future

    def end(self) -> None:
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, function = work
            try:
                told = partial(_succeed, future, function())
            except BaseException as error:
                told = partial(_fail, future, error)
            with contextlib.suppress(RuntimeError):
                # Unless the loop is closed, and nobody waits.
                self._loop.call_soon_threadsafe(told)
            # Else the last function, and all it holds on to, would stay until the next one.
            del work, future, function, told


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
