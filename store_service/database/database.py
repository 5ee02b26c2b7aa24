"""Opening the store's database: the engines, the pragmas, the lock that keeps a second process off a SQLite file.

Two engines per database. The writer's has one connection and is used by the writer alone; the reader's has several,
cannot write, and never waits for the writer (WAL snapshots on SQLite, MVCC on PostgreSQL).
"""

import asyncio
import fcntl
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store_service.database.migrate import migrate
from store_service.database.postgres_session import PostgresWriteSession
from store_service.database.sqlite_session import SqliteWriteSession
from store_service.database.write_session import WriteSession
from store_service.domain.errors import (
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnavailable,
    StartRefused,
    WalImpossible,
)

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

_POSTGRES_OPTIONS = frozenset(
    {"host", "passfile", "port", "prepared_statement_cache_size", "ssl", "sslmode", "target_session_attrs"}
)


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions:
    """How to talk to the database.

    read_connections: connections for reads, besides the one that writes.
    busy_seconds: how long to wait for another process's lock on a SQLite file.
    pool_seconds: how long a read waits for a free connection before it fails.
    connect_seconds: how long to wait for a PostgreSQL server to accept a connection.
    statement_seconds: after which PostgreSQL itself ends a statement that reads; None: never.
    """

    read_connections: int = 4
    busy_seconds: float = 5.0
    pool_seconds: float = 5.0
    connect_seconds: float = 10.0
    statement_seconds: float | None = None


class Database:
    """An open database. `reader` serves reads; writes go through `write_session`, which the writer owns."""

    def __init__(
        self, kind: Literal["sqlite", "postgresql"], writer: AsyncEngine | Engine, reader: AsyncEngine, lock: int | None
    ) -> None:
        self.kind = kind
        self.reader = reader
        self._writer = writer
        self._lock = lock

    def write_session(self) -> WriteSession:
        """The session of the one writer."""
        if isinstance(self._writer, Engine):
            return SqliteWriteSession(self._writer)
        return PostgresWriteSession(self._writer)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a read-only transaction: everything read in it is of one moment on SQLite.

        Raises DatabaseUnavailable when there is none in time or the database fails.
        """
        try:
            async with self.reader.connect() as connection:
                yield connection
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"all read connections are in use: {error}") from error
        except (SQLAlchemyError, OSError) as error:
            raise DatabaseUnavailable(str(error)) from error

    async def close(self) -> None:
        """Closes all connections and gives the file free."""
        await self.reader.dispose()
        if isinstance(self._writer, Engine):
            self._writer.dispose()
        else:
            await self._writer.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def parse_url(url: str) -> URL:
    """Raises StartRefused."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        # Without the text: it may hold a password.
        raise StartRefused(
            "the database URL cannot be read: use sqlite:///path or postgresql://user@host/name"
        ) from error


def sqlite_file(url: URL) -> str:
    """The path, as the URL says it. Raises StartRefused."""
    if not url.database or url.database == ":memory:" or url.host or url.username or url.password or url.port:
        raise StartRefused("the store needs a SQLite file: sqlite:///path")
    for name in sorted(url.query):
        # Some change which file is opened, beside the one that is locked.
        raise StartRefused(f"the database URL has an option {name!r}; there are none for SQLite: sqlite:///path")
    return url.database


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


async def _open_sqlite(url: URL, options: DatabaseOptions) -> Database:
    path = sqlite_file(url)
    # Fails before the file is made: its directory may be missing, or not ours.
    lock = _lock(path)
    try:
        _refuse_other_names(path)
    except StartRefused:
        os.close(lock)
        raise
    _make_private(path)
    writer = _sqlite_writer(url, options)
    reader = _sqlite_reader(url, options)
    try:
        # On the loop, which has nothing else to do yet: Alembic keeps what it works on in globals of its own.
        with writer.connect() as connection:
            _verify_sqlite(connection, path)
        with writer.begin() as connection:
            migrate(connection)
    except BaseException as error:
        await reader.dispose()
        writer.dispose()
        os.close(lock)
        if isinstance(error, DBAPIError):
            raise _start_failure(path, error) from error
        raise
    return Database("sqlite", writer, reader, lock)


def _lock(path: str) -> int:
    """An exclusive lock on `path`.lock, held until closed. The operating system gives it free when the process dies."""
    # Beside the file itself: it may be reached by links of several names.
    lock_path = f"{os.path.realpath(path)}.lock"
    try:
        Path(lock_path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseReadOnly(path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DatabaseInUse(path) from error
    return descriptor


def _refuse_other_names(path: str) -> None:
    """The lock and SQLite's log of writes go by the file's name: two stores that know one file by two hard links would
    each overwrite what the other committed."""
    try:
        status = os.stat(path)
    except OSError:
        # It does not exist yet, or SQLite says better what is wrong.
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise StartRefused(
            f"{path} is one of {status.st_nlink} hard links to one file, of which each could be served by itself: "
            f"remove the others (find DIRECTORY -samefile {path} names them)"
        )


def _make_private(path: str) -> None:
    """A new file is its owner's alone, as SQLite then makes those beside it: all that was ever asked for is in it. One
    that exists stays as it is."""
    with suppress(OSError):
        # SQLite says better what is wrong, when it comes to open it. It follows links; O_EXCL does not.
        os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sqlite_writer(url: URL, options: DatabaseOptions) -> Engine:
    """Not an async one: the connection that writes gets a thread in which whole batches run."""
    # Parameters are hidden everywhere: errors, which are logged, would hold prompts and arguments.
    engine = create_engine(
        url.set(drivername="sqlite"),
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={**_connect_args(options), "check_same_thread": False},
    )
    # IMMEDIATE takes the write lock before anything is read. A read transaction that turns into a write later fails
    # at once when somebody wrote in between, whatever the busy timeout.
    _configure(engine, _WRITER_PRAGMAS, "BEGIN IMMEDIATE")
    return engine


def _sqlite_reader(url: URL, options: DatabaseOptions) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=options.read_connections,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=options.pool_seconds,
        connect_args=_connect_args(options),
    )
    _configure(engine.sync_engine, _READER_PRAGMAS, "BEGIN")
    return engine


def _connect_args(options: DatabaseOptions) -> dict[str, Any]:
    # None: the driver begins no transactions of its own accord; a listener does, at the right moment.
    return {"isolation_level": None, "timeout": options.busy_seconds}


def _configure(engine: Engine, pragmas: Sequence[str], begin: str) -> None:
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

    def begins(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begins)


def _verify_sqlite(connection: Connection, path: str) -> None:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    if mode != "wal":
        raise WalImpossible(path, str(mode))
    synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
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
        raise StartRefused("PostgreSQL needs the extra: pip install 'plangate[postgres]'") from error
    url = postgres_url(url)
    writer = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=options.pool_seconds,
        connect_args={"timeout": options.connect_seconds},
    )
    reader = create_async_engine(
        url,
        pool_size=options.read_connections,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=options.pool_seconds,
        pool_pre_ping=True,
        connect_args={
            "timeout": options.connect_seconds,
            "server_settings": {
                "default_transaction_read_only": "on",
                "statement_timeout": str(round((options.statement_seconds or 0) * 1000)),
            },
        },
    )
    try:
        async with writer.begin() as connection:
            encoding = (await connection.exec_driver_sql("SHOW server_encoding")).scalar_one()
            if encoding != "UTF8":
                # Most texts would fit no row, and no filter.
                raise StartRefused(f"the database keeps texts as {encoding}: make one with ENCODING 'UTF8'")
            await connection.run_sync(migrate)
    except BaseException as error:
        with suppress(Exception):
            await reader.dispose()
            await writer.dispose()
        if isinstance(error, DBAPIError):
            # No such database or role, a wrong password, no right to make tables: the server says it best.
            raise DatabaseUnavailable(_words_of_postgres(error)) from error
        if isinstance(error, OSError | asyncio.TimeoutError):
            raise DatabaseUnavailable(str(error)) from error
        raise
    return Database("postgresql", writer, reader, None)


def _words_of_postgres(error: DBAPIError) -> str:
    # SQLAlchemy's error holds its own adapter's, and that the driver's.
    return str(getattr(error.orig, "__cause__", None) or error.orig)
