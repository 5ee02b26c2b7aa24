"""All rows of one database in another one: SQLite to PostgreSQL, or back.

Tables and columns are those of the mapped classes. The target's transaction holds all of the copy or nothing. No store
may serve either database meanwhile: a SQLite file is locked; PostgreSQL may have no other session in the database, and
a store that starts is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sqlalchemy import Table, column, delete, func, insert, select, table, tuple_
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from store_service.database.database import Database, ReadSessions, open_database
from store_service.database.failures import Conflict, ConnectionLost, Unwritable
from store_service.database.maintenance.offline import UNREADABLE
from store_service.database.maintenance.sealing import locked_head, make_key, read_key, reseal
from store_service.database.migrate import refuse_starts
from store_service.database.models import (
    LogHeadModel,
)
from store_service.database.orm import Base
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.events import LogHead
from store_service.domain.seals import LogKey, head_fault

Progress = Callable[[str, int], None]
"""Takes a table's name and how many of its rows were copied so far."""

_ROWS_AT_ONCE = 200
_SESSIONS = table("pg_stat_activity", column("datname"), column("pid"), column("usesysid"))


class CopyRefused(Exception):
    """Nothing was copied; the message says why, on one line."""


@asynccontextmanager
async def copied(
    source_url: str,
    target_url: str,
    source_key: LogKey | None,
    target_key: Path | None,
    progress: Progress = lambda table_name, rows: None,
) -> AsyncIterator[ReadSessions]:
    """Sessions that see the copy in the target, with the seals of the source. It is sealed with the target's key and
    committed at the end of the block, unless that raises.

    source_key: of the source's log, which is refused when it is sealed with another one.
    target_key: where that key is, or will be; None: the target will have no seals.
    Both schemas are brought up to date first. Raises CopyRefused, StartRefused, DatabaseUnavailable.
    """
    async with AsyncExitStack() as stack:
        source = await open_database(source_url)
        stack.push_async_callback(source.close)
        target = await open_database(target_url)
        stack.push_async_callback(target.close)
        try:
            await _refuse_other_sessions(source, "source")
            await _refuse_other_sessions(target, "target")
            async with source.transaction() as reading, target.transaction() as writing:
                await _refuse_starts(reading, "source")
                await _refuse_starts(writing, "target")
                head = await _locked_head(reading)
                if fault := head_fault(source_key, head):
                    # Sealed anew, whatever it says would count.
                    raise CopyRefused(f"the source: {fault}")
                await _locked_head(writing)
                for name, count in (await _row_counts(writing)).items():
                    if count and name != LogHeadModel.__tablename__:
                        raise CopyRefused(f"the target is not empty: its table {name} has {count} rows")
                await writing.execute(delete(LogHeadModel))
                for each in Base.metadata.sorted_tables:
                    await _copy_table(each, reading, writing, progress)
                if await _row_counts(reading) != await _row_counts(writing) or head != await _locked_head(writing):
                    raise CopyRefused("the target does not hold the rows that it was given")
                yield ReadSessions(writing)
                await reseal(writing, None if target_key is None else read_key(target_key) or make_key(target_key))
        except (Conflict, ConnectionLost, Unwritable) as error:
            raise DatabaseUnavailable(str(error)) from error
        except (SQLAlchemyError, OSError) as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error


# The server takes a moment to end the session of a process that has just ended.
@retry(retry=retry_if_exception_type(CopyRefused), stop=stop_after_delay(5), wait=wait_fixed(0.1), reraise=True)
async def _refuse_other_sessions(database: Database, name: str) -> None:
    if database.kind == "sqlite":
        return
    # The server shows one transaction the same sessions however often it asks.
    async with database.transaction() as connection:
        await _refuse_sessions_now(connection, name)


async def _refuse_sessions_now(connection: AsyncConnection, name: str) -> None:
    # usesysid: the server's own processes have none.
    others = select(func.count()).where(
        _SESSIONS.c.datname == func.current_database(),
        _SESSIONS.c.usesysid.is_not(None),
        _SESSIONS.c.pid != func.pg_backend_pid(),
    )
    if count := await connection.scalar(others):
        raise CopyRefused(f"{count} other sessions use the {name}: stop its stores, and close whatever else uses it")


async def _refuse_starts(connection: AsyncConnection, name: str) -> None:
    """Until the transaction ends. A store that has started since the sessions were looked at has one of its own."""
    if connection.dialect.name != "postgresql":
        return
    if not await connection.run_sync(refuse_starts):
        raise CopyRefused(f"a store starts on the {name}: stop it")
    await _refuse_sessions_now(connection, name)


async def _locked_head(connection: AsyncConnection) -> LogHead:
    """Where the log ends, until the transaction's end."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))
    try:
        return await locked_head(connection)
    except DatabaseUnavailable as error:
        raise CopyRefused(error.problem) from error


async def _row_counts(connection: AsyncConnection) -> dict[str, int]:
    return {
        each.name: (await connection.execute(select(func.count()).select_from(each))).scalar_one()
        for each in Base.metadata.sorted_tables
    }


async def _copy_table(rows_of: Table, source: AsyncConnection, target: AsyncConnection, progress: Progress) -> None:
    count = 0
    keys = list(rows_of.primary_key.columns)
    first = following = select(rows_of).order_by(*keys).limit(_ROWS_AT_ONCE)
    while True:
        try:
            rows = [row._asdict() for row in await source.execute(following)]
        except (*UNREADABLE, DBAPIError) as error:
            raise CopyRefused(
                f"a row of the source's table {rows_of.name} cannot be read: plangate store check names it"
            ) from error
        if not rows:
            return
        try:
            await target.execute(insert(rows_of), rows)
        except DBAPIError as error:
            # Without the driver's message: it may hold a prompt.
            cause = type(getattr(error.orig, "__cause__", None) or error.orig).__name__
            raise CopyRefused(f"the target does not take a row of the table {rows_of.name}: {cause}") from error
        count += len(rows)
        progress(rows_of.name, count)
        following = first.where(tuple_(*keys) > tuple(rows[-1][key.name] for key in keys))
