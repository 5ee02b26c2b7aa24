"""How a write can fail, whatever the database: a driver's errors become one of three."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine


class Conflict(Exception):
    """Another process changed the same rows, or made the same ones. The transaction must be rolled back."""


class ConnectionLost(Exception):
    """The connection is gone or the disk failed. `commit_sent`: the commit may have happened all the same."""

    def __init__(self, problem: str, *, commit_sent: bool = False) -> None:
        super().__init__(problem)
        self.commit_sent = commit_sent


class Unwritable(Exception):
    """The database refuses to write now (full, locked, damaged). Nothing of the transaction was stored."""


class FileGone(Unwritable):
    """The file that is served is not at its path any more. `copy`: where everything that was committed is now; None
    when it could not be copied, for which `problem` is the reason."""

    def __init__(self, path: str, copy: Path | None, problem: str = "") -> None:
        saved = f"everything that was acknowledged is in {copy}: mv it to {path}" if copy else f"no copy: {problem}"
        super().__init__(f"{path} was moved, removed or replaced while it was served; {saved}")


_SQLITE_UNWRITABLE = frozenset(
    {
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
)
# unique violation, serialization failure, deadlock
_CONFLICTS = frozenset({"23505", "40001", "40P01"})
# The server shuts down, crashed or starts up; a session that was idle for too long was ended.
_SERVER_GONE = frozenset({"57P01", "57P02", "57P03", "25P03"})
# No resources, objects in use (a lock that was not given in time), operator intervention, system and internal errors.
_UNWRITABLE_CLASSES = frozenset({"53", "55", "57", "58", "XX"})
# A server that only reads; a right that was taken away; a table, column or schema that is not there.
_UNWRITABLE_STATES = frozenset({"25006", "42501", "42P01", "42703", "3F000"})


def translate_failures(engine: AsyncEngine) -> None:
    """From now on the engine raises Conflict, ConnectionLost and Unwritable where a driver's error means that. Any
    other error is one command's fault (a value too large, for example) and stays as it is."""

    def translated(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        if context.is_disconnect:
            return ConnectionLost(str(error))
        return failure_of(error) if isinstance(error, Exception) else None

    event.listen(engine.sync_engine, "handle_error", translated)


def failure_of(error: BaseException) -> Exception | None:
    """What a driver's error means for a transaction; None when it is one command's fault."""
    if isinstance(error, sqlite3.Error):
        return _failure_of_sqlite(error)
    if (state := getattr(error, "sqlstate", None)) is not None:
        return _failure_of_postgres(str(state), error)
    if isinstance(error, OSError | TimeoutError) or _is_interface_error(error):
        return ConnectionLost(f"{type(error).__name__}: {error}")
    return None


def _failure_of_sqlite(error: sqlite3.Error) -> Exception | None:
    # The low byte is the primary code, the rest says more exactly which.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict(str(error))
    if code == sqlite3.SQLITE_IOERR:
        return ConnectionLost(str(error))
    if code in _SQLITE_UNWRITABLE:
        return Unwritable(str(error))
    return None


def _failure_of_postgres(state: str, error: BaseException) -> Exception | None:
    if state in _CONFLICTS:
        return Conflict(str(error))
    if state.startswith("08") or state in _SERVER_GONE:
        return ConnectionLost(str(error))
    if state[:2] in _UNWRITABLE_CLASSES or state in _UNWRITABLE_STATES:
        return Unwritable(str(error))
    return None


def _is_interface_error(error: BaseException) -> bool:
    """asyncpg's errors of a connection that cannot be used; those that are a ValueError too are about a value."""
    cause = error.__cause__
    return type(error).__name__ == "InterfaceError" and not isinstance(cause, ValueError)
