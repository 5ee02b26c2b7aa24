"""The key that the log is sealed with, and sealing a log that was written without it or with another one."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import structlog
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from store_service.database.database import Database, ReadSessions, parse_url
from store_service.database.event_repository import EventRepository, LogHeadUnreadable
from store_service.database.failures import Conflict, ConnectionLost, Unwritable
from store_service.database.models import EventModel, LogHeadModel
from store_service.database.sqlite.file_lock import sqlite_file
from store_service.domain.errors import DatabaseUnavailable, StartRefused
from store_service.domain.events import LogHead
from store_service.domain.seals import MIN_KEY_BYTES, LogKey, head_fault

KEY_FILE_NAME = "plangate-log.key"
_EVENTS_AT_ONCE = 2000
_log = structlog.get_logger("store")


def key_path(url: str, configured: Path | None) -> Path | None:
    """Where the key of this database's log is: as configured; else beside a SQLite file. None: nowhere. Raises
    StartRefused."""
    parsed = parse_url(url)
    if configured is not None or parsed.get_backend_name() != "sqlite":
        return configured
    return Path(sqlite_file(parsed)).with_name(KEY_FILE_NAME)


def read_key(path: Path | None) -> LogKey | None:
    """The key in a file of at least 64 hexadecimal digits; None when there is no file. Raises StartRefused."""
    if path is None:
        return None
    try:
        secret = bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StartRefused(f"the log's key cannot be read: {problem.strerror}: {path}") from problem
    except ValueError as problem:
        raise StartRefused(f"the log's key is not hexadecimal digits: {path}") from problem
    if len(secret) < MIN_KEY_BYTES:
        raise StartRefused(f"the log's key has less than {2 * MIN_KEY_BYTES} hexadecimal digits: {path}")
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("everybody on this machine can read the log's key: chmod o-r", key_file=str(path))
    return LogKey(secret)


def make_key(path: Path) -> LogKey:
    """A new key in a new file that its owner alone may read. Raises StartRefused."""
    secret = secrets.token_bytes(MIN_KEY_BYTES)
    _write_key(secret, path)
    return LogKey(secret)


def _write_key(secret: bytes, path: Path) -> None:
    made = False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        made = True
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secret.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        if made:
            # A part of a key would be refused at the next start.
            path.unlink(missing_ok=True)
        raise StartRefused(f"the log's key cannot be written: {problem.strerror}: {path}") from problem


async def key_of_log(database: Database, path: Path | None) -> LogKey | None:
    """The key of the log that a store is about to serve; None: this log is not sealed.

    Without a key file, a log that has no seal is sealed with a new key. Raises StartRefused when the seal of the log is
    not of the key in the file, and DatabaseUnavailable.
    """
    try:
        async with database.transaction() as connection:
            head = await locked_head(connection)
            # After the lock: another store may have just made it.
            key = read_key(path)
            if key is None and path is not None and head.seal is None:
                secret = secrets.token_bytes(MIN_KEY_BYTES)
                key = LogKey(secret)
                await reseal(connection, key)
                # Last: with a key and no seals, which a start that ends before would leave, the log would be refused.
                _write_key(secret, path)
                # Expected of a new log.
                write = _log.warning if head.revision else _log.info
                write("the log had no seal and is sealed now", key_file=str(path), events=head.revision)
            elif fault := head_fault(key, head):
                file = path or "PLANGATE_LOG_KEY_FILE names none"
                raise StartRefused(f"{fault} (key file: {file}; see plangate store seal)")
        return key
    except (Conflict, ConnectionLost, Unwritable, SQLAlchemyError) as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", None) or error)) from error


async def reseal(connection: AsyncConnection, key: LogKey | None) -> LogHead:
    """Seal every entry and the head, whatever seals they have; without a key, remove the seals. Returns the head."""
    head = await locked_head(connection)
    last = 0
    pieces = select(EventModel.revision, EventModel.hash).order_by(EventModel.revision).limit(_EVENTS_AT_ONCE)
    if key is None:
        await connection.execute(update(EventModel).values(seal=None))
    while key is not None and (rows := (await connection.execute(pieces.where(EventModel.revision > last))).all()):
        await connection.execute(_SEAL, [{"at": row[0], "sealed": key.seal(row[0], row[1])} for row in rows])
        last = rows[-1][0]
    await connection.execute(
        update(LogHeadModel).values(seal=None if key is None else key.seal(head.revision, head.hash))
    )
    return head


_SEAL = update(EventModel).where(EventModel.revision == bindparam("at")).values(seal=bindparam("sealed"))


async def locked_head(connection: AsyncConnection) -> LogHead:
    """Where the log ends, until the transaction's end. Raises DatabaseUnavailable."""
    async with ReadSessions(connection).read() as session:
        try:
            head = await EventRepository(session).head(for_update=True)
        except LogHeadUnreadable as error:
            raise DatabaseUnavailable(str(error)) from error
    if head is None:
        raise DatabaseUnavailable("the log has no head row")
    return head
