"""A store's database without its server: opened for reading only, beside a server or without one."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from store_service.database.database import parse_url, postgres_url, sqlite_file
from store_service.database.models import ProposalRow
from store_service.database.read_pool import ReadPool, Row
from store_service.database.rows import (
    PLAN_COLUMNS,
    PROPOSAL_COLUMNS,
    LogHeadUnreadable,
    head_from_row,
    plan_from_row,
    proposal_from_row,
)
from store_service.domain.errors import StartRefused
from store_service.domain.events import EventKind
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

_ROWS_AT_ONCE = 500
# How file systems say that they have no hard links, or no modes: FAT, what Windows shares, FUSE.
_NOT_THERE = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


class BackupRefused(Exception):
    """The copy cannot be made; the message says why, on one line."""


@asynccontextmanager
async def open_for_reading(url: str) -> AsyncIterator[ReadPool]:
    """One connection that cannot write. Raises StartRefused when there is no such database."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(url)
        # Not as one text, of which SQLAlchemy would undo the quoting.
        file = URL.create("sqlite+aiosqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
        engine = create_async_engine(file, connect_args={"isolation_level": None})
    elif parsed.get_backend_name() == "postgresql":
        engine = create_async_engine(
            postgres_url(parsed),
            connect_args={"server_settings": {"default_transaction_read_only": "on"}},
        )
    else:
        raise StartRefused(f"{parsed.get_backend_name()} is not a database the store knows")
    pool = ReadPool(engine, size=1)
    try:
        yield pool
    finally:
        await pool.close()
        await engine.dispose()


def sqlite_path(url: str) -> Path:
    """The database file. Raises StartRefused when the URL names none, or none that exists."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise StartRefused("this needs a SQLite database: PLANGATE_DATABASE_URL=sqlite:///path")
    path = Path(sqlite_file(parsed))
    try:
        is_file = path.is_file()
    except OSError as problem:
        raise StartRefused(f"{path} cannot be read: {problem.strerror}") from problem
    if not is_file:
        raise StartRefused(f"there is no database at {path}")
    return path


def back_up(url: str, destination: Path) -> int:
    """Copy a SQLite database while it may be in use; returns the copy's size in bytes.

    The copy appears under its name only when it is whole and on the disk. Raises BackupRefused, StartRefused.
    """
    source_path = sqlite_path(url)
    try:
        if destination.exists():
            raise BackupRefused(f"{destination} exists already")
        # A name of its own, and nobody else's to read while it is made.
        descriptor, name = tempfile.mkstemp(".partial", f"{destination.name}.", destination.parent)
    except OSError as problem:
        raise BackupRefused(f"{destination} cannot be written: {problem.strerror}") from problem
    os.close(descriptor)
    partial = Path(name)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source_path))}?mode=ro", uri=True)) as source:
            if source.execute(_SCHEMA_TABLE["sqlite"]).fetchone() is None:
                raise BackupRefused(f"{source_path} is not a store's database: it has no table alembic_version")
            with closing(sqlite3.connect(partial)) as copy:
                # In one step: a copy in several starts again whenever the server commits in between. In WAL mode
                # nobody has to wait for it.
                source.backup(copy, pages=-1)
                found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise BackupRefused(f"the copy is damaged: {found}")
        # As many may read the copy as the database, where files have modes of their own.
        try:
            partial.chmod(stat.S_IMODE(source_path.stat().st_mode))
        except OSError as problem:
            if problem.errno not in _NOT_THERE:
                raise
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        _name(partial, destination)
        _sync_directory(destination.parent)
    except sqlite3.Error as problem:
        raise BackupRefused(f"SQLite cannot copy {source_path}: {problem}") from problem
    except OSError as problem:
        raise BackupRefused(f"{destination} cannot be written: {problem.strerror}") from problem
    finally:
        partial.unlink(missing_ok=True)
    return destination.stat().st_size


async def integrity_problems(pool: ReadPool) -> list[str]:
    """What SQLite finds wrong with the file itself; at most ten. PostgreSQL has its own means."""
    if pool.dialect != "sqlite":
        return []
    rows = await pool.fetch("PRAGMA integrity_check(10)", ())
    return [str(row[0]) for row in rows if row[0] != "ok"]


async def schema_revision(pool: ReadPool) -> str:
    """The migration that was applied last; every one that is named, should there not be one. Raises StartRefused when
    this is no database of ours."""
    rows = await pool.fetch(_SCHEMA_TABLE[pool.dialect], ())
    if not rows:
        raise StartRefused("the database is not a store's: it has no table alembic_version")
    rows = await pool.fetch("SELECT version_num FROM alembic_version ORDER BY version_num", ())
    return " and ".join(str(row[0]) for row in rows) or "none"


def known_schema_revision() -> str:
    """The newest migration that this version has."""
    config = Config()
    config.set_main_option("script_location", "store_service.database:migrations")
    return str(ScriptDirectory.from_config(config).get_current_head())


async def missing_tables_and_indexes(pool: ReadPool) -> tuple[list[str], list[str]]:
    """The names of those that are not there: SQLite refuses statements that say which index to use, PostgreSQL is
    slow. (A store of this schema has them all.)"""
    tables = sorted(ProposalRow.metadata.tables)
    indexes = sorted(str(index.name) for table in ProposalRow.metadata.tables.values() for index in table.indexes)
    if pool.dialect == "sqlite":
        found = await pool.fetch("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')", ())
    else:
        found = await pool.fetch(
            "SELECT name FROM unnest($1::text[]) AS n(name) WHERE to_regclass(name) IS NOT NULL", ([*tables, *indexes],)
        )
    there = {row[0] for row in found}
    return [name for name in tables if name not in there], [name for name in indexes if name not in there]


@dataclass(frozen=True)
class Resource:
    """A plan or proposal as its row says (`entity` None: it cannot be read), and what the log says of that version
    (`snapshot` None: nothing)."""

    id: str
    version: int
    entity: Plan | Proposal | None
    snapshot: bytes | None


async def resources(pool: ReadPool) -> AsyncIterator[Resource]:
    """Every plan and proposal that has a row."""
    for table, columns, from_row in (
        ("plans", PLAN_COLUMNS, plan_from_row),
        ("proposals", PROPOSAL_COLUMNS, proposal_from_row),
    ):
        identity = columns.index("id"), columns.index("version")
        async for row in _rows_with_snapshots(pool, table, columns):
            entity: Plan | Proposal | None = None
            # What somebody else wrote into a row may be anything.
            with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
                entity = from_row(row[:-1])
            yield Resource(row[identity[0]], row[identity[1]], entity, row[-1])


async def head_is_readable(pool: ReadPool) -> bool:
    """Whether the head row of the log holds what it can hold, or is not there."""
    rows = await pool.fetch("SELECT revision, hash FROM log_head WHERE id = 1", ())
    try:
        return not rows or bool(head_from_row(rows[0]))
    except LogHeadUnreadable:
        return False


async def lost_resources(pool: ReadPool, limit: int) -> list[tuple[str, int]]:
    """Ids and last versions, by the log, of what has no row of that version or a later one; of what was removed for
    good, when there is a row. Those whose last change is oldest first."""
    rows = await pool.fetch(
        "SELECT e.entity_id, e.version FROM events e "  # noqa: S608 - the words are ours
        "LEFT JOIN plans l ON l.id = e.entity_id LEFT JOIN proposals p ON p.id = e.entity_id "
        "WHERE NOT EXISTS (SELECT 1 FROM events n WHERE n.entity_id = e.entity_id AND n.version = e.version + 1) "
        f"AND CASE WHEN e.kind IN ('{EventKind.PLAN_PURGED.value}', '{EventKind.PROPOSAL_PURGED.value}') "
        "THEN coalesce(l.version, p.version) IS NOT NULL ELSE coalesce(l.version, p.version, 0) < e.version END "
        f"ORDER BY e.revision LIMIT {limit}",
        (),
    )
    return [(row[0], row[1]) for row in rows]


async def misplaced_dependencies(pool: ReadPool, limit: int) -> list[tuple[str, str]]:
    """Ids of proposals, each with that of another, where the row says that the one waits for the other and the table
    of dependencies, by which whoever waits is found, does not; or the other way round. The rows must be readable."""
    needed = _NEEDED[pool.dialect]
    rows = await pool.fetch(
        f"SELECT p.id, d.value FROM proposals p CROSS JOIN {needed} "  # noqa: S608 - the words are ours
        "WHERE p.depends_on <> '[]' AND EXISTS (SELECT 1 FROM proposals n WHERE n.id = d.value) AND NOT EXISTS "
        "(SELECT 1 FROM dependencies x WHERE x.depends_on_id = d.value AND x.proposal_id = p.id) "
        "UNION ALL SELECT x.proposal_id, x.depends_on_id FROM dependencies x "
        "LEFT JOIN proposals p ON p.id = x.proposal_id "
        f"WHERE p.id IS NULL OR NOT EXISTS (SELECT 1 FROM {needed} WHERE d.value = x.depends_on_id) "
        f"ORDER BY 1, 2 LIMIT {limit}",
        (),
    )
    return [(row[0], row[1]) for row in rows]


async def miscounted_proposals(pool: ReadPool, limit: int) -> list[str]:
    """Ids of open proposals whose row waits for another number of proposals than those it depends on that are not
    EXECUTED: the log does not say, and claims go by it. The rows must be readable."""
    needed = _NEEDED[pool.dialect]
    rows = await pool.fetch(
        f"SELECT p.id FROM proposals p WHERE p.state IN ('DRAFT', 'PENDING', 'APPROVED') AND p.delete_time IS NULL "  # noqa: S608 - the words are ours
        f"AND p.waiting_for <> (SELECT count(*) FROM {needed} JOIN proposals n ON n.id = d.value "
        f"WHERE n.state <> 'EXECUTED') ORDER BY p.id LIMIT {limit}",
        (),
    )
    return [row[0] for row in rows]


async def _rows_with_snapshots(pool: ReadPool, table: str, columns: tuple[str, ...]) -> AsyncIterator[Row]:
    placeholder = "?" if pool.dialect == "sqlite" else "$1"
    fields = ", ".join(f"r.{column}" for column in columns)
    last = ""
    while rows := await pool.fetch(
        f"SELECT {fields}, e.snapshot FROM {table} r "  # noqa: S608 - names are our models'
        f"LEFT JOIN events e ON e.entity_id = r.id AND e.version = r.version "
        f"WHERE r.id > {placeholder} ORDER BY r.id LIMIT {_ROWS_AT_ONCE}",
        (last,),
    ):
        for row in rows:
            yield tuple(row)
        last = rows[-1][0]


def _name(partial: Path, destination: Path) -> None:
    """Give a whole file its name, in one step and never in place of another file. Raises OSError, BackupRefused."""
    # Linux has a rename that replaces nothing. Python does not offer it, nor do all C libraries and file systems.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        failure = errno.ENOSYS
    elif rename(_AT_FDCWD, os.fsencode(partial), _AT_FDCWD, os.fsencode(destination), _RENAME_NOREPLACE):
        failure = ctypes.get_errno()
    else:
        return
    if failure not in (*_NOT_THERE, errno.EINVAL):
        raise OSError(failure, os.strerror(failure))
    try:
        # Not rename(), which replaces what somebody made meanwhile. Who is killed in between leaves two names, and the
        # store serves no file that has two.
        os.link(partial, destination)
    except OSError as problem:
        if problem.errno not in _NOT_THERE:
            raise
    else:
        partial.unlink()
        return
    raise BackupRefused(
        f"{destination} cannot be written: its file system has neither hard links nor a rename that replaces "
        "nothing; back up to another one, and copy the file from there"
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        # Windows shares and some of FUSE have nothing to sync there.
        if problem.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


_SCHEMA_TABLE = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    # As other statements find it: there may be one in a schema where they do not look.
    "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
}
# What the proposal p depends on.
_NEEDED = {
    "sqlite": "json_each(p.depends_on) AS d",
    "postgresql": "json_array_elements_text(p.depends_on::json) AS d(value)",
}
