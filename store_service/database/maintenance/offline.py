"""A store's database without its server: opened for reading only, beside a server or without one, and checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, and_, case, column, func, inspect, or_, select, table, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from store_service.database.database import ReadSessions, parse_url, read_only_engine
from store_service.database.dialects import TextItems, one_of_these
from store_service.database.event_repository import EventRepository, LogHeadUnreadable
from store_service.database.models import DependencyModel, EventModel, PlanModel, ProposalModel
from store_service.database.rows import PLANS, PROPOSALS, EntityRows
from store_service.database.sqlite.backup import sqlite_path
from store_service.domain.errors import StartRefused
from store_service.domain.events import EventKind
from store_service.domain.plan import Plan
from store_service.domain.proposal import FINAL_STATES, Proposal, ProposalState

_ROWS_AT_ONCE = 500
# Rows that were changed by hand may hold anything.
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError, LookupError)
_SCHEMA = table("alembic_version", column("version_num"))


@asynccontextmanager
async def open_for_reading(url: str) -> AsyncIterator[ReadSessions]:
    """Sessions that cannot write. Raises StartRefused when there is no such database."""
    if parse_url(url).get_backend_name() == "sqlite":
        sqlite_path(url)
    sessions = ReadSessions(read_only_engine(url))
    try:
        yield sessions
    finally:
        await sessions.close()


async def integrity_problems(session: AsyncSession) -> list[str]:
    """What SQLite finds wrong with the file itself; at most ten. PostgreSQL has its own means."""
    connection = await session.connection()
    if connection.dialect.name != "sqlite":
        return []
    rows = (await connection.exec_driver_sql("PRAGMA integrity_check(10)")).all()
    return [str(row[0]) for row in rows if row[0] != "ok"]


async def schema_revision(session: AsyncSession) -> str:
    """The migration that was applied last; every one that is named, should there not be one. Raises StartRefused when
    this is no database of ours."""
    connection = await session.connection()
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(_SCHEMA.name)):
        raise StartRefused("the database is not a store's: it has no table alembic_version")
    names = await session.scalars(select(_SCHEMA.c.version_num).order_by(_SCHEMA.c.version_num))
    return " and ".join(map(str, names)) or "none"


async def database_version(session: AsyncSession) -> str:
    """Of SQLite, or of the PostgreSQL server."""
    connection = await session.connection()
    return ".".join(map(str, connection.dialect.server_version_info or ()))


def known_schema_revision() -> str:
    """The newest migration that this version has."""
    config = Config()
    config.set_main_option("script_location", "store_service.database:migrations")
    return str(ScriptDirectory.from_config(config).get_current_head())


async def missing_tables_and_indexes(session: AsyncSession) -> tuple[list[str], list[str]]:
    """The names of those that are not there: SQLite refuses statements that say which index to use, PostgreSQL is
    slow. (A store of this schema has them all.)"""

    def missing(connection: Connection) -> tuple[list[str], list[str]]:
        inspector = inspect(connection)
        tables = ProposalModel.metadata.tables
        there = set(inspector.get_table_names())
        absent = [name for name in sorted(tables) if name not in there]
        indexes = {index["name"] for name in tables if name in there for index in inspector.get_indexes(name)}
        known = (str(index.name) for each in tables.values() for index in each.indexes)
        return absent, sorted(name for name in known if name not in indexes)

    return await (await session.connection()).run_sync(missing)


@dataclass(frozen=True)
class Resource:
    """A plan or proposal as its row says (`entity` None: it cannot be read), and what the log says of that version
    (`snapshot` None: nothing)."""

    id: str
    version: int
    entity: Plan | Proposal | None
    snapshot: bytes | None


async def resources(session: AsyncSession) -> AsyncIterator[Resource]:
    """Every plan and proposal that has a row."""
    each_kind: tuple[EntityRows[Any], ...] = (PLANS, PROPOSALS)
    for rows in each_kind:
        model = rows.model
        newest = and_(EventModel.entity_id == model.id, EventModel.version == model.version)
        statement = (
            select(model.id, model.version, EventModel.snapshot).outerjoin(EventModel, newest).order_by(model.id)
        )
        last = ""
        while found := (await session.execute(statement.where(model.id > last).limit(_ROWS_AT_ONCE))).all():
            entities = await _readable(session, rows, [row[0] for row in found])
            for row in found:
                yield Resource(row[0], row[1], entities.get(row[0]), row[2])
            last = found[-1][0]


async def head_is_readable(session: AsyncSession) -> bool:
    """Whether the head row of the log holds what it can hold, or is not there."""
    try:
        await EventRepository(session).head()
    except LogHeadUnreadable:
        return False
    return True


async def lost_resources(session: AsyncSession, limit: int) -> list[tuple[str, int]]:
    """Ids and last versions, by the log, of what has no row of that version or a later one; of what was removed for
    good, when there is a row. Those whose last change is oldest first."""
    newer = aliased(EventModel)
    followed = select(newer.revision).where(
        newer.entity_id == EventModel.entity_id, newer.version == EventModel.version + 1
    )
    purged = EventModel.kind.in_([EventKind.PLAN_PURGED.value, EventKind.PROPOSAL_PURGED.value])
    row_version = func.coalesce(PlanModel.version, ProposalModel.version)
    lost = case((purged, row_version.is_not(None)), else_=func.coalesce(row_version, 0) < EventModel.version)
    rows = await session.execute(
        select(EventModel.entity_id, EventModel.version)
        .outerjoin(PlanModel, PlanModel.id == EventModel.entity_id)
        .outerjoin(ProposalModel, ProposalModel.id == EventModel.entity_id)
        .where(~followed.exists(), lost)
        .order_by(EventModel.revision)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


async def misplaced_dependencies(session: AsyncSession, limit: int) -> list[tuple[str, str]]:
    """Ids of proposals, each with that of another, where the row says that the one waits for the other and the table
    of dependencies, by which dependents are found, does not; or the other way round. The rows must be readable."""
    needed = TextItems(ProposalModel.depends_on).table_valued("value", joins_implicitly=True)
    other = aliased(ProposalModel)
    listed = select(DependencyModel.proposal_id).where(
        DependencyModel.depends_on_id == needed.c.value, DependencyModel.proposal_id == ProposalModel.id
    )
    only_in_the_row = select(ProposalModel.id.label("id"), needed.c.value.label("other_id")).where(
        select(other.id).where(other.id == needed.c.value).exists(), ~listed.exists()
    )
    named = select(needed.c.value).where(needed.c.value == DependencyModel.depends_on_id).correlate_except(needed)
    only_in_the_table = (
        select(DependencyModel.proposal_id, DependencyModel.depends_on_id)
        .outerjoin(ProposalModel, ProposalModel.id == DependencyModel.proposal_id)
        .where(or_(ProposalModel.id.is_(None), ~named.exists()))
    )
    both = union_all(only_in_the_row, only_in_the_table).subquery()
    rows = await session.execute(select(both).order_by(both.c.id, both.c.other_id).limit(limit))
    return [(row[0], row[1]) for row in rows]


async def miscounted_proposals(session: AsyncSession, limit: int) -> list[str]:
    """Ids of open proposals whose row waits for another number of proposals than those it depends on that have not
    ended: the log does not say, and claims go by it. The rows must be readable."""
    needed = TextItems(ProposalModel.depends_on).table_valued("value", joins_implicitly=True)
    other = aliased(ProposalModel)
    unfinished = (
        select(func.count())
        .select_from(needed)
        .join(other, other.id == needed.c.value)
        .where(other.state.not_in(sorted(FINAL_STATES)), other.delete_time.is_(None))
        .correlate(ProposalModel)
        .scalar_subquery()
    )
    still_open = ProposalModel.state.in_([ProposalState.DRAFT, ProposalState.PENDING, ProposalState.APPROVED])
    statement = select(ProposalModel.id).where(
        still_open, ProposalModel.delete_time.is_(None), ProposalModel.waiting_for != unfinished
    )
    return list(await session.scalars(statement.order_by(ProposalModel.id).limit(limit)))


async def _readable(session: AsyncSession, rows: EntityRows[Any], ids: Sequence[str]) -> dict[str, Any]:
    """Those of these entities whose rows can be read, by id."""
    try:
        found = (await session.execute(select(*rows.attributes).where(one_of_these(rows.model.id, ids)))).all()
        return {entity.id: entity for entity in map(rows.entity, found)}
    except UNREADABLE:
        if len(ids) == 1:
            return {}
    middle = len(ids) // 2
    return {**await _readable(session, rows, ids[:middle]), **await _readable(session, rows, ids[middle:])}
