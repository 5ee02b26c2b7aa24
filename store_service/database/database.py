"""Opening the store's database: the engines and their sessions, what is set on their connections, what is verified.

Two engines per database. The writer's has one connection and is used by the writer alone; the reader's has several,
cannot write, and never waits for the writer (WAL snapshots on SQLite, MVCC on PostgreSQL).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from store_service.database.failures import translate_failures
from store_service.database.migrate import migrate
from store_service.database.sqlite.aiosqlite_dialect import DRIVER_NAME
from store_service.database.sqlite.file_lock import FileLock, sqlite_file
from store_service.database.write_session import WriteSession
from store_service.domain.errors import (
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnavailable,
    StartRefused,
    WalImpossible,
)
from store_service.domain.seals import LogKey

Kind = Literal["sqlite", "postgresql"]

_READER_PRAGMAS = ("query_only = ON",)
_WRITER_PRAGMAS = (
    "journal_mode = WAL",
    # FULL: a commit returns when the WAL is on the disk, not when the kernel has it.
    "synchronous = FULL",
    "foreign_keys = ON",
    "cache_size = -65536",
    # The writer's connection alone makes checkpoints, between its own commits: up to SQLite 3.51.2 a checkpoint beside
    # a commit that starts the WAL anew can lose pages (sqlite.org/wal.html, "the WAL-reset bug").
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 67108864",
)

# A process that stopped dead while it holds the head of the log must not stop the others for longer than this.
_POSTGRES_WRITER = {
    "lock_timeout": "8s",
    "idle_in_transaction_session_timeout": "5s",
    "synchronous_commit": "on",
}
_CONNECT_SECONDS = 10.0
_POSTGRES_OPTIONS = frozenset(
    {"host", "passfile", "port", "prepared_statement_cache_size", "ssl", "sslmode", "target_session_attrs"}
)


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions:
    """How to talk to the database.

    read_connections: connections for reads, besides the one that writes.
    busy_seconds: how long to wait for another process's lock on a SQLite file.
    pool_seconds: how long a read waits for a free connection before it fails.
    statement_seconds: after which PostgreSQL itself ends a statement that reads; None: never.
    """

    read_connections: int = 4
    busy_seconds: float = 5.0
    pool_seconds: float = 5.0
    statement_seconds: float | None = None


class ReadSessions:
    """Sessions that cannot write. Each statement sees one moment, and never waits for the writer."""

    def __init__(self, bind: AsyncEngine | AsyncConnection) -> None:
        """`bind`: a connection when the sessions are to see what its transaction has written so far."""
        self.kind: Kind = "sqlite" if bind.dialect.name == "sqlite" else "postgresql"
        self._bind = bind
        self._sessions = async_sessionmaker(bind, autoflush=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session; a cancelled call ends its statement.

        Raises DatabaseUnavailable when no connection is free in time or the database fails.
        """
        try:
            async with self._sessions() as session:
                yield session
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"all connections for reading were busy: {error}") from error
        except (SQLAlchemyError, OSError) as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Closes all connections of an engine; a connection stays open."""
        if isinstance(self._bind, AsyncEngine):
            await self._bind.dispose()


class Database:
    """An open database. `reading` serves reads; writes go through `write_session`, which the writer owns."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, lock: FileLock | None) -> None:
        self.reading = ReadSessions(reader)
        self.kind = self.reading.kind
        self._writer = writer
        self._lock = lock
        translate_failures(writer)

    def write_session(self, log_key: LogKey | None = None) -> WriteSession:
        """The session of the one writer. `log_key`: seals the log."""
        return WriteSession(self._writer, lock=self._lock, log_key=log_key)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The writer's connection while there is no writer, in a transaction that is committed at the end of the
        block, unless that raises. Raises Conflict, ConnectionLost and Unwritable."""
        return self._writer.begin()

    async def close(self) -> None:
        """Closes all connections and releases the file."""
        await self.reading.close()
        await self._writer.dispose()
        if self._lock is not None:
            self._lock.close()


def parse_url(url: str) -> URL:
    """Raises StartRefused."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        # Without the text: it may hold a password.
        raise StartRefused(
            "the database URL cannot be read: use sqlite:///path or postgresql://user@host/name"
        ) from error


def postgres_url(url: URL) -> URL:
    """For the driver. `sslmode` is what libpq and most who print URLs call what the driver calls `ssl`. Raises
    StartRefused."""
    for name in sorted(url.query.keys() - _POSTGRES_OPTIONS):
        raise StartRefused(f"the database URL has an option {name!r}; there are {', '.join(sorted(_POSTGRES_OPTIONS))}")
    for name in ("port", "prepared_statement_cache_size"):
        value = url.query.get(name, "0")
        # Several servers may have a port each.
        for number in value.split(",") if isinstance(value, str) else value:
            if not (number.isascii() and number.isdigit() and int(number[:9]) < 65536):
                raise StartRefused(f"the database URL's option {name!r} is not a number up to 65535: {number}")
    if url.port is not None and not 0 < url.port < 65536:
        raise StartRefused(f"the database URL has no port: {url.port}")
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=query)


async def open_database(url: str, options: DatabaseOptions | None = None) -> Database:
    """Opens the database, brings its schema up to date, and returns it ready for use.

    url: `sqlite:///path`, or `postgresql://user@host/name`.
    Raises StartRefused (WAL impossible, read-only, damaged, in use, schema too new) and DatabaseUnavailable.
    """
    options = options or DatabaseOptions()
    parsed = parse_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return await _open_sqlite(parsed, options)
    if backend == "postgresql":
        return await _open_postgres(parsed, options)
    raise StartRefused(f"{backend} is not a database the store knows: use sqlite:///path or postgresql://...")


def read_only_engine(url: str) -> AsyncEngine:
    """One connection to an existing database, beside a server or without one. Raises StartRefused."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        # Not as one text, of which SQLAlchemy would undo the quoting.
        file = f"file:{quote(sqlite_file(parsed))}"
        readable = URL.create(DRIVER_NAME, database=file, query={"mode": "ro", "uri": "true"})
        return create_async_engine(readable, connect_args={"isolation_level": None}, **_READER)
    if parsed.get_backend_name() == "postgresql":
        settings = {"default_transaction_read_only": "on"}
        return create_async_engine(
            postgres_url(parsed), connect_args={"server_settings": settings}, isolation_level="AUTOCOMMIT", **_READER
        )
    raise StartRefused(f"{parsed.get_backend_name()} is not a database the store knows")


# Parameters are hidden everywhere: errors, which are logged, would hold prompts and arguments. A statement that only
# reads needs no transaction, so there is none to roll back when its connection returns to the pool.
_ENGINE: dict[str, Any] = {"hide_parameters": True, "max_overflow": 0}
_READER: dict[str, Any] = {
    **_ENGINE,
    "pool_reset_on_return": None,
    "skip_autocommit_rollback": True,
    "pool_use_lifo": True,
}


async def _open_sqlite(url: URL, options: DatabaseOptions) -> Database:
    path = sqlite_file(url)
    lock = FileLock(path)
    url = url.set(drivername=DRIVER_NAME)
    # None: the driver begins no transactions of its own accord.
    arguments = {"isolation_level": None, "timeout": options.busy_seconds}
    writer = create_async_engine(url, pool_size=1, connect_args=arguments, **_ENGINE)
    reader = create_async_engine(
        url,
        pool_size=options.read_connections,
        pool_timeout=options.pool_seconds,
        connect_args=arguments,
        **_READER,
    )
    _set_pragmas(writer, _WRITER_PRAGMAS)
    _set_pragmas(reader, _READER_PRAGMAS)
    # IMMEDIATE takes the write lock before anything is read. A read transaction that turns into a write later fails
    # at once when another connection wrote in between, whatever the busy timeout.
    event.listen(writer.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        async with writer.begin() as connection:
            await _verify_sqlite(connection, path)
            await connection.run_sync(migrate)
    except BaseException as error:
        await _dispose(reader, writer)
        lock.close()
        if isinstance(error, DBAPIError):
            raise _start_failure(path, error) from error
        raise
    return Database(writer, reader, lock)


def _set_pragmas(engine: AsyncEngine, pragmas: Sequence[str]) -> None:
    def connected(dbapi_connection: Any, _record: object) -> None:
        try:
            cursor = dbapi_connection.cursor()
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()
        except BaseException:
            # The engine forgets a connection whose set-up failed, but its thread would keep the process from ending.
            dbapi_connection.close()
            raise

    event.listen(engine.sync_engine, "connect", connected)


async def _verify_sqlite(connection: AsyncConnection, path: str) -> None:
    mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
    if mode != "wal":
        raise WalImpossible(path, str(mode))
    synchronous = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one()
    if synchronous != 2:
        raise StartRefused(f"SQLite keeps {path} with synchronous={synchronous}, not FULL")


def _start_failure(path: str, error: DBAPIError) -> Exception:
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return DatabaseReadOnly(path)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return DatabaseDamaged(path, str(cause))
    if code == sqlite3.SQLITE_BUSY:
        return DatabaseInUse(path)
    return DatabaseUnavailable(str(error))


async def _open_postgres(url: URL, options: DatabaseOptions) -> Database:
    try:
        import asyncpg  # noqa: F401
    except ImportError as error:
        raise StartRefused("PostgreSQL needs the extra `postgres` (in a clone: pip install '.[postgres]')") from error
    url = postgres_url(url)
    writer = create_async_engine(
        url,
        pool_size=1,
        connect_args={"timeout": _CONNECT_SECONDS, "server_settings": _POSTGRES_WRITER},
        pool_timeout=options.pool_seconds,
        **_ENGINE,
    )
    reading = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(round((options.statement_seconds or 0) * 1000)),
    }
    reader = create_async_engine(
        url,
        pool_size=options.read_connections,
        pool_timeout=options.pool_seconds,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": _CONNECT_SECONDS, "server_settings": reading},
        **_READER,
    )
    try:
        async with writer.begin() as connection:
            encoding = await connection.scalar(select(func.current_setting("server_encoding")))
            if encoding != "UTF8":
                # Most texts would fit no row, and no filter.
                raise StartRefused(f"the database keeps texts as {encoding}: make one with ENCODING 'UTF8'")
            await connection.run_sync(migrate)
    except BaseException as error:
        await _dispose(reader, writer)
        if isinstance(error, DBAPIError):
            # No such database or role, a wrong password, no right to make tables: the server says it best. SQLAlchemy's
            # error holds its own adapter's, and that the driver's.
            raise DatabaseUnavailable(str(getattr(error.orig, "__cause__", None) or error.orig)) from error
        if isinstance(error, OSError | asyncio.TimeoutError):
            raise DatabaseUnavailable(str(error)) from error
        raise
    return Database(writer, reader, None)


async def _dispose(*engines: AsyncEngine) -> None:
    for engine in engines:
        with contextlib.suppress(Exception):
            await engine.dispose()
