"""Reading plans, proposals and the log.

A resource is answered with the snapshot of its newest event: the very bytes that were hashed into the log. Rows are
what is searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import InstrumentedAttribute

from store_service.database.conditions import beyond, condition, ordered, readable
from store_service.database.database import ReadSessions
from store_service.database.dialects import one_of_these
from store_service.database.event_repository import (
    EVENT_ATTRIBUTES,
    EventRepository,
    LogHeadUnreadable,
    event_from_row,
)
from store_service.database.gathered_reads import GatheredReads
from store_service.database.models import (
    EventModel,
    GovernanceModel,
    PlanModel,
    ProposalModel,
    is_shown,
)
from store_service.database.orm import AnyRow, AnySelect
from store_service.domain.errors import DatabaseUnavailable, PlanNotFound, ProposalNotFound
from store_service.domain.events import Event, EventUnreadable, LogHead
from store_service.filters import Expression
from store_service.page_tokens import Position
from store_service.queries import MAX_PAGE_BYTES, NO_VIEWER, Page, PageQuery, ReadTimedOut, Viewer

# A page is read in pieces of this many rows.
_ROWS_AT_ONCE = 50
# Where many rows are read at once, what is large is left out. Both databases tell a snapshot's length without reading
# it: of the large ones only those that are wanted are read, by a second statement.
_LARGE_BYTES = 32 * 1024
_BYTES_AT_ONCE = 8 * 1024 * 1024
_LENGTH = func.length(EventModel.snapshot)
_SNAPSHOT, _SIZE = Event._fields.index("snapshot"), len(Event._fields)


def _unless_large(column: Any) -> ColumnElement[Any]:
    return case((_LENGTH > _LARGE_BYTES, None), else_=column)


# In SQLite a row's later columns are behind its snapshot: to get at them it would have to be read after all.
_EVENT = select(*EVENT_ATTRIBUTES)
_SIFTED_EVENT = select(
    *EVENT_ATTRIBUTES[:_SNAPSHOT], *(_unless_large(column) for column in EVENT_ATTRIBUTES[_SNAPSHOT:]), _LENGTH
)


class Reader:
    """Every method may raise DatabaseUnavailable. Resources are encoded messages."""

    def __init__(self, sessions: ReadSessions, *, timeout_seconds: float | None = None) -> None:
        """`timeout_seconds`: how long a list or count may take, all its statements together, before ReadTimedOut."""
        self._sessions = sessions
        self._timeout_seconds = timeout_seconds
        self._plans = GatheredReads(lambda ids: self._snapshots(PlanModel, ids))
        self._proposals = GatheredReads(lambda ids: self._snapshots(ProposalModel, ids))

    async def plan(self, plan_id: str, viewer: Viewer = NO_VIEWER) -> bytes:
        """Also a soft-deleted one. Raises PlanNotFound."""
        if (plan := await self._one(PlanModel, self._plans, plan_id, viewer)) is None:
            raise PlanNotFound(plan_id)
        return plan

    async def proposal(self, proposal_id: str, viewer: Viewer = NO_VIEWER) -> bytes:
        """Also a soft-deleted one. Raises ProposalNotFound."""
        if (proposal := await self._one(ProposalModel, self._proposals, proposal_id, viewer)) is None:
            raise ProposalNotFound(proposal_id)
        return proposal

    async def proposals(self, proposal_ids: Sequence[str], viewer: Viewer = NO_VIEWER) -> list[bytes]:
        """In the order of the ids, all as of one moment. Raises ProposalNotFound for the first that is missing."""
        found = await self._snapshots(ProposalModel, list(dict.fromkeys(proposal_ids)), viewer)
        for index, proposal_id in enumerate(proposal_ids):
            if proposal_id not in found:
                missing = ProposalNotFound(proposal_id)
                missing.index = index
                raise missing
        return [found[proposal_id] for proposal_id in proposal_ids]

    async def list_plans(self, query: PageQuery) -> Page:
        """One page of plans. Raises ReadTimedOut."""
        async with self._limited():
            return await self._page(PlanModel, query)

    async def list_proposals(self, query: PageQuery) -> Page:
        """One page of proposals. Raises ReadTimedOut."""
        async with self._limited():
            return await self._page(ProposalModel, query)

    async def count_proposals(self, where: Expression | None, viewer: Viewer = NO_VIEWER) -> dict[str, int]:
        """How many are in each state that occurs; soft-deleted ones are not counted. Raises ReadTimedOut."""
        statement = (
            select(ProposalModel.state, func.count())
            .where(is_shown(ProposalModel), readable(ProposalModel, viewer))
            .group_by(ProposalModel.state)
        )
        if where:
            statement = statement.where(condition(where, ProposalModel, viewer))
        async with self._limited():
            return {state.value: count for state, count in await self._fetch(statement)}

    async def list_events(self, query: PageQuery) -> tuple[list[Event], Position | None]:
        """One page of the log, and where the next one begins; None on the last one. Raises ReadTimedOut."""
        async with self._limited():
            try:
                return await self._event_page(query)
            except EventUnreadable as error:
                raise DatabaseUnavailable(str(error)) from error

    async def _event_page(self, query: PageQuery) -> tuple[list[Event], Position | None]:
        descending = query.order.descending
        events: list[Event] = []
        position, read_bytes = query.after, 0
        while True:
            # One more than wanted tells whether there is a next page.
            wanted = min(_ROWS_AT_ONCE, query.size + 1 - len(events))
            statement = _SIFTED_EVENT.where(readable(EventModel, query.viewer)).limit(wanted)
            statement = statement.order_by(*ordered([EventModel.revision], descending=descending))
            if query.where:
                statement = statement.where(condition(query.where, EventModel, query.viewer))
            if position:
                statement = statement.where(beyond([EventModel.revision], position, descending=descending))
            rows = await self._fetch(statement)
            fitting = rows
            for index, row in enumerate(rows):
                read_bytes += 2 * (row[_SIZE] or 0) + 512
                count = len(events) + index
                if count and (count == query.size or read_bytes > MAX_PAGE_BYTES):
                    fitting = rows[:index]
                    break
            events += await self._events(fitting)
            if len(fitting) == len(rows) < wanted:
                return events, None
            position = (events[-1].revision,)
            if len(fitting) < len(rows):
                return events, position

    async def events_from(self, revision: int, limit: int, max_bytes: int = _BYTES_AT_ONCE) -> list[Event]:
        """Events in revision order, from this one on: no more than max_bytes of snapshots, but one if there is one."""
        # A single one is wanted however large it is.
        columns = _EVENT if limit == 1 else _SIFTED_EVENT
        rows = await self._fetch(
            columns.where(EventModel.revision >= revision).order_by(EventModel.revision).limit(limit)
        )
        if limit == 1:
            return [event_from_row(row) for row in rows]
        for index, row in enumerate(rows):
            # SQLite lets a column hold no value at all.
            max_bytes -= row[_SIZE] or 0
            if max_bytes < 0 and index:
                rows = rows[:index]
                break
        return await self._events(rows)

    async def governance(self, planner: str) -> str:
        """The digest in force for this planner; empty when there is none."""
        rows = await self._fetch(select(GovernanceModel.digest).where(GovernanceModel.planner == planner))
        return rows[0][0] if rows else ""

    async def head(self) -> LogHead:
        """Where the log ends, by its head row."""
        async with self._sessions.read() as session:
            try:
                return await EventRepository(session).head() or LogHead()
            except LogHeadUnreadable as error:
                raise DatabaseUnavailable(str(error)) from error

    async def _fetch(self, statement: AnySelect) -> Sequence[AnyRow]:
        async with self._sessions.read() as session:
            return (await session.execute(statement)).all()

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Ends what takes too long: a cancelled call ends its statement."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except TimeoutError:
            assert self._timeout_seconds is not None, "without a limit there is no time-out"
            raise ReadTimedOut(self._timeout_seconds) from None

    async def _one(
        self, model: type[PlanModel | ProposalModel], gathered: GatheredReads, resource_id: str, viewer: Viewer
    ) -> bytes | None:
        if viewer.scope.reads is None:
            return await gathered.get(resource_id)
        return (await self._snapshots(model, [resource_id], viewer)).get(resource_id)

    async def _snapshots(
        self, model: type[PlanModel | ProposalModel], ids: Sequence[str], viewer: Viewer = NO_VIEWER
    ) -> dict[str, bytes]:
        newest = and_(EventModel.entity_id == model.id, EventModel.version == model.version)
        statement = select(model.id, EventModel.snapshot).join(EventModel, newest)
        statement = statement.where(one_of_these(model.id, ids), readable(model, viewer))
        return {row[0]: row[1] for row in await self._fetch(statement)}

    async def _events(self, rows: Sequence[AnyRow]) -> list[Event]:
        """Of rows of _SIFTED_EVENT. Raises EventUnreadable."""
        large = await self._by_revision(_EVENT, [row[0] for row in rows if row[_SNAPSHOT] is None])
        return [event_from_row(large.get(row[0], row)) for row in rows]

    async def _by_revision(self, columns: AnySelect, revisions: Sequence[int]) -> dict[int, AnyRow]:
        """These columns of events, the first of which is the revision. They never change."""
        if not revisions:
            return {}
        return {row[0]: row for row in await self._fetch(columns.where(EventModel.revision.in_(revisions)))}

    async def _page(self, model: type[PlanModel | ProposalModel], query: PageQuery) -> Page:
        resources: list[bytes] = []
        position, read_bytes = query.after, 0
        while True:
            wanted = min(_ROWS_AT_ONCE, query.size - len(resources)) + 1
            rows = await self._fetch(_piece(model, query, position, wanted))
            fitting = rows[: wanted - 1]
            for index, row in enumerate(fitting):
                read_bytes += row[3] + 8
                if read_bytes > MAX_PAGE_BYTES and (resources or index):
                    fitting = fitting[:index]
                    break
            large = await self._by_revision(
                select(EventModel.revision, EventModel.snapshot), [row[4] for row in fitting if row[0] is None]
            )
            resources += [large[row[4]][1] if row[0] is None else row[0] for row in fitting]
            if fitting:
                position = (fitting[-1][1], fitting[-1][2])
            if len(fitting) == len(rows) < wanted:
                return Page(resources, None)
            if len(fitting) < min(len(rows), wanted - 1) or len(resources) == query.size:
                return Page(resources, position)


def _piece(
    model: type[PlanModel | ProposalModel], query: PageQuery, position: Position | None, limit: int
) -> AnySelect:
    """(snapshot unless it is large, value of the order's field, id, the snapshot's length, its revision).

    The subquery finds and sorts small rows; only those of the page are joined with their snapshots.
    """
    descending = query.order.descending
    sort_key: InstrumentedAttribute[Any] = getattr(model, query.order.field)
    keys = [sort_key, model.id]
    inner = select(model.id, model.version, sort_key.label("sort_key")).where(readable(model, query.viewer))
    if not query.show_deleted:
        inner = inner.where(is_shown(model))
    if query.where:
        inner = inner.where(condition(query.where, model, query.viewer))
    if position:
        inner = inner.where(beyond(keys, position, descending=descending))
    page = inner.order_by(*ordered(keys, descending=descending)).limit(limit).subquery("page")
    return (
        select(_unless_large(EventModel.snapshot), page.c.sort_key, page.c.id, _LENGTH, EventModel.revision)
        .join(EventModel, and_(EventModel.entity_id == page.c.id, EventModel.version == page.c.version))
        .select_from(page)
        .order_by(*ordered([page.c.sort_key, page.c.id], descending=descending))
    )
