"""Reading plans, proposals and the log.

A resource is answered with the snapshot of its newest event: the very bytes that were hashed into the log. Rows are
what is searched. What the writer remembers is read from there, without asking the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from sqlalchemy import Table

from store_service.database.gathered_gets import GatheredGets
from store_service.database.read_pool import ReadPool, Row
from store_service.database.row_cache import CommittedRows
from store_service.database.rows import (
    EVENT_COLUMNS,
    EVENTS,
    PLANS,
    PROPOSALS,
    LogHeadUnreadable,
    event_from_row,
    head_from_row,
)
from store_service.database.selects import Select
from store_service.domain.errors import DatabaseUnavailable, PlanNotFound, ProposalNotFound
from store_service.domain.events import Event, EventUnreadable, LogHead
from store_service.domain.snapshot import EncodeSnapshot
from store_service.filters import Expression
from store_service.page_tokens import Position
from store_service.queries import MAX_PAGE_BYTES, Page, PageQuery, ReadTimedOut

# A page is read in pieces of this many rows.
_ROWS_AT_ONCE = 50
# Where many rows are read at once, what is large is left out. Both databases tell a snapshot's length without reading
# it: of the large ones only those that are wanted are read, by a second statement.
_LARGE_BYTES = 32 * 1024
_BYTES_AT_ONCE = 8 * 1024 * 1024
# What is larger in memory is read from the database, which has it encoded: to encode it again takes longer, and the
# event loop.
_ENCODED_BYTES = 16 * 1024
_LENGTH = "length(e.snapshot)"
_EVENT_NAMES = EVENT_COLUMNS[:15]
_SNAPSHOT, _SIZE = _EVENT_NAMES.index("snapshot"), len(_EVENT_NAMES)
_EVENT_FIELDS = ", ".join(f"e.{name}" for name in _EVENT_NAMES)


def _unless_large(column: str) -> str:
    return f"CASE WHEN {_LENGTH} > {_LARGE_BYTES} THEN NULL ELSE {column} END"


# In SQLite a row's later columns are behind its snapshot: to get at them it would have to be read after all.
_SIFTED_EVENT_FIELDS = ", ".join(
    [
        *(f"e.{name}" for name in _EVENT_NAMES[:_SNAPSHOT]),
        *(_unless_large(f"e.{name}") for name in _EVENT_NAMES[_SNAPSHOT:]),
        _LENGTH,
    ]
)


class Remembered:
    """Resources that this process committed last, from memory. Only where nobody else can have changed them."""

    def __init__(self, rows: CommittedRows, encode_snapshot: EncodeSnapshot) -> None:
        self._rows = rows
        self._encode_snapshot = encode_snapshot

    def plan(self, plan_id: str) -> bytes | None:
        """The plan, encoded, if it is remembered and small."""
        plan = self._rows.plans.small(plan_id, _ENCODED_BYTES)
        return self._encode_snapshot(plan) if plan else None

    def proposal(self, proposal_id: str) -> bytes | None:
        """The proposal, encoded, if it is remembered and small."""
        proposal = self._rows.proposals.small(proposal_id, _ENCODED_BYTES)
        return self._encode_snapshot(proposal) if proposal else None


class Reader:
    """Every method may raise DatabaseUnavailable. Resources are encoded messages."""

    def __init__(
        self, pool: ReadPool, remembered: Remembered | None = None, *, timeout_seconds: float | None = None
    ) -> None:
        """`timeout_seconds`: how long a list or count may take, all its statements together, before ReadTimedOut."""
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._remembered = remembered
        self._plans = GatheredGets(lambda ids: self._snapshots(PLANS, ids))
        self._proposals = GatheredGets(lambda ids: self._snapshots(PROPOSALS, ids))

    async def plan(self, plan_id: str) -> bytes:
        """Also a soft-deleted one. Raises PlanNotFound."""
        if self._remembered and (plan := self._remembered.plan(plan_id)):
            return plan
        plan = await self._plans.get(plan_id)
        if plan is None:
            raise PlanNotFound(plan_id)
        return plan

    async def proposal(self, proposal_id: str) -> bytes:
        """Also a soft-deleted one. Raises ProposalNotFound."""
        if self._remembered and (proposal := self._remembered.proposal(proposal_id)):
            return proposal
        proposal = await self._proposals.get(proposal_id)
        if proposal is None:
            raise ProposalNotFound(proposal_id)
        return proposal

    async def proposals(self, proposal_ids: Sequence[str]) -> list[bytes]:
        """In the order of the ids, all as of one moment. Raises ProposalNotFound for the first that is missing."""
        found = await self._snapshots(PROPOSALS, list(dict.fromkeys(proposal_ids)))
        for index, proposal_id in enumerate(proposal_ids):
            if proposal_id not in found:
                missing = ProposalNotFound(proposal_id)
                missing.index = index
                raise missing
        return [found[proposal_id] for proposal_id in proposal_ids]

    async def list_plans(self, query: PageQuery) -> Page:
        """One page of plans. Raises ReadTimedOut."""
        async with self._limited():
            return await self._page(PLANS, query)

    async def list_proposals(self, query: PageQuery) -> Page:
        """One page of proposals. Raises ReadTimedOut."""
        async with self._limited():
            return await self._page(PROPOSALS, query)

    async def count_proposals(self, where: Expression | None) -> dict[str, int]:
        """How many are in each state that occurs; soft-deleted ones are not counted. Raises ReadTimedOut."""
        select = Select(self._pool.dialect)
        condition = f" AND {select.condition(where, PROPOSALS, 'p')}" if where else ""
        async with self._limited():
            rows = await self._pool.fetch(
                f"SELECT p.state, COUNT(*) FROM proposals p WHERE p.delete_time IS NULL{condition} GROUP BY p.state",  # noqa: S608 - values are bound
                select.parameters,
            )
        return {state: count for state, count in rows}  # noqa: C416 - dict() does not know that rows are pairs

    async def list_events(self, query: PageQuery) -> tuple[list[Event], Position | None]:
        """One page of the log, and where the next one begins; None on the last one. Raises ReadTimedOut."""
        async with self._limited():
            try:
                return await self._event_page(query)
            except EventUnreadable as error:
                raise DatabaseUnavailable(str(error)) from error

    async def _event_page(self, query: PageQuery) -> tuple[list[Event], Position | None]:
        direction: Literal["<", ">"] = "<" if query.order.descending else ">"
        events: list[Event] = []
        position, read_bytes = query.after, 0
        while True:
            select = Select(self._pool.dialect)
            conditions = []
            if query.where:
                conditions.append(select.condition(query.where, EVENTS, "e"))
            if position:
                conditions.append(select.after(["e.revision"], position, direction))
            # One more than wanted tells whether there is a next page.
            wanted = min(_ROWS_AT_ONCE, query.size + 1 - len(events))
            rows = await self._pool.fetch(
                f"SELECT {_SIFTED_EVENT_FIELDS} FROM events e{_where(conditions)} "  # noqa: S608 - values are bound
                f"ORDER BY e.revision{_direction(query.order.descending)} LIMIT {select.bind(wanted)}",
                select.parameters,
            )
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
        select = Select(self._pool.dialect)
        rows = await self._pool.fetch(
            # A single one is wanted however large it is.
            f"SELECT {_EVENT_FIELDS if limit == 1 else _SIFTED_EVENT_FIELDS} FROM events e "  # noqa: S608 - values are bound
            f"WHERE e.revision >= {select.bind(revision)} ORDER BY e.revision LIMIT {select.bind(limit)}",
            select.parameters,
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

    async def head(self) -> LogHead:
        """Where the log ends, by its head row."""
        rows = await self._pool.fetch("SELECT revision, hash FROM log_head WHERE id = 1", ())
        try:
            return head_from_row(rows[0]) if rows else LogHead()
        except LogHeadUnreadable as error:
            raise DatabaseUnavailable(str(error)) from error

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Ends what takes too long. Cancelling it stops its statement: see ReadPool."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except TimeoutError:
            assert self._timeout_seconds is not None, "without a limit there is no time-out"
            raise ReadTimedOut(self._timeout_seconds) from None

    async def _snapshots(self, table: Table, ids: Sequence[str]) -> dict[str, bytes]:
        select = Select(self._pool.dialect)
        rows = await self._pool.fetch(
            f"SELECT r.id, e.snapshot FROM {table.name} r "  # noqa: S608 - values are bound
            f"JOIN events e ON e.entity_id = r.id AND e.version = r.version WHERE {select.any_of('r.id', ids)}",
            select.parameters,
        )
        return {resource_id: snapshot for resource_id, snapshot in rows}  # noqa: C416 - as above

    async def _events(self, rows: Sequence[Row]) -> list[Event]:
        """Of rows of _SIFTED_EVENT_FIELDS. Raises EventUnreadable."""
        large = await self._by_revision(_EVENT_FIELDS, [row[0] for row in rows if row[_SNAPSHOT] is None])
        if large:
            rows = [large.get(row[0], row) for row in rows]
        return [event_from_row(row) for row in rows]

    async def _by_revision(self, fields: str, revisions: Sequence[int]) -> dict[int, Row]:
        """These fields of events, the first of which is the revision. They are the same for ever."""
        if not revisions:
            return {}
        select = Select(self._pool.dialect)
        rows = await self._pool.fetch(
            f"SELECT {fields} FROM events e WHERE e.revision IN ({', '.join(map(select.bind, revisions))})",  # noqa: S608 - values are bound
            select.parameters,
        )
        return {row[0]: row for row in rows}

    async def _page(self, table: Table, query: PageQuery) -> Page:
        resources: list[bytes] = []
        position, read_bytes = query.after, 0
        while True:
            wanted = min(_ROWS_AT_ONCE, query.size - len(resources)) + 1
            rows = await self._rows(table, query, position, wanted)
            fitting = rows[: wanted - 1]
            for index, row in enumerate(fitting):
                read_bytes += row[3] + 8
                if read_bytes > MAX_PAGE_BYTES and (resources or index):
                    fitting = fitting[:index]
                    break
            large = await self._by_revision("e.revision, e.snapshot", [row[4] for row in fitting if row[0] is None])
            resources += [large[row[4]][1] if row[0] is None else row[0] for row in fitting]
            if fitting:
                position = (fitting[-1][1], fitting[-1][2])
            if len(fitting) == len(rows) < wanted:
                return Page(resources, None)
            if len(fitting) < min(len(rows), wanted - 1) or len(resources) == query.size:
                return Page(resources, position)

    async def _rows(self, table: Table, query: PageQuery, position: Position | None, limit: int) -> list[Row]:
        """(snapshot unless it is large, value of the order's field, id, the snapshot's length, its revision)."""
        select = Select(self._pool.dialect)
        column = f"r.{table.columns[query.order.field].name}"
        conditions = [] if query.show_deleted else ["r.delete_time IS NULL"]
        if query.where:
            conditions.append(select.condition(query.where, table, "r"))
        if position:
            conditions.append(select.after([column, "r.id"], position, "<" if query.order.descending else ">"))
        direction = _direction(query.order.descending)
        # The inner SELECT finds and sorts small rows; only those of the page are joined with their snapshots.
        return await self._pool.fetch(
            f"SELECT {_unless_large('e.snapshot')}, page.sort_key, page.id, {_LENGTH}, e.revision FROM ("  # noqa: S608 - values are bound
            f"SELECT r.id, r.version, {column} AS sort_key FROM {table.name} r{_where(conditions)} "
            f"ORDER BY {column}{direction}, r.id{direction} LIMIT {select.bind(limit)}) page "
            "JOIN events e ON e.entity_id = page.id AND e.version = page.version "
            f"ORDER BY page.sort_key{direction}, page.id{direction}",
            select.parameters,
        )


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _direction(descending: bool) -> str:
    return " DESC" if descending else ""
