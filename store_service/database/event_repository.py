"""The log in the database, its head, and what finds the answers to repeated requests again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from sqlalchemy import Integer, bindparam, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncSession

from store_service.database.bulk_writes import insert_rows
from store_service.database.dialects import one_of, using
from store_service.database.failures import Conflict
from store_service.database.models import (
    REQUEST_INDEX,
    EventModel,
    LogHeadModel,
    answers_a_request,
)
from store_service.database.orm import AnyRow
from store_service.domain.events import GENESIS_HASH, EntityType, Event, EventUnreadable, LogHead
from store_service.domain.instant import Instant
from store_service.domain.seals import LogKey

_ENTITY_TYPES = {int(entity_type): entity_type for entity_type in EntityType}
# SQLite lets a column hold any type, and has no truth values of its own.
_EVENT_TYPES = frozenset(
    (int, int, str, int, str, str, truth, str, int, str, str, bytes, bytes, bytes, str, seal)
    for truth in (bool, int)
    for seal in (bytes, type(None))
)
_HEAD = LogHeadModel.id == 1

EVENT_ATTRIBUTES = tuple(
    # As it is stored: anything but 0 and 1 was not written by a store.
    type_coerce(EventModel.authenticated, Integer) if name == "authenticated" else getattr(EventModel, name)
    for name in Event._fields
)
"""What `event_from_row` reads."""


class LogHeadUnreadable(Exception):
    """The head row of the log holds values that no store writes: it was changed by hand."""

    def __init__(self) -> None:
        super().__init__("the head row of the log cannot be read: it was changed")


class Entry(NamedTuple):
    """An event to be appended. `method`, `fingerprint` and `answer` find the answer to a repeated request again; an
    event that answers none has none of them. `answer`: the position of its snapshot in the answer, from 1."""

    event: Event
    method: str = ""
    fingerprint: bytes | None = None
    answer: int | None = None


class Part(NamedTuple):
    """One resource of the answer to an earlier request."""

    event: Event
    method: str
    fingerprint: bytes
    answer: int


class EventRepository:
    """The log as one session sees it."""

    def __init__(self, session: AsyncSession, log_key: LogKey | None = None) -> None:
        """`log_key`: seals what is appended."""
        self._session = session
        self._log_key = log_key

    async def head(self, *, for_update: bool = False) -> LogHead | None:
        """Where the log ends; None when there is no head row. `for_update` locks it on PostgreSQL. Raises
        LogHeadUnreadable."""
        row = (await self._session.execute(_LOCK_HEAD if for_update else _SELECT_HEAD)).first()
        if row is None:
            return None
        revision, digest, seal = row
        if type(revision) is not int or revision < 0 or type(digest) is not bytes or len(digest) != len(GENESIS_HASH):
            raise LogHeadUnreadable
        if type(seal) not in (bytes, type(None)):
            raise LogHeadUnreadable
        return LogHead(revision, digest, seal)

    async def append(self, entries: Sequence[Entry], before: LogHead, head: LogHead) -> None:
        """Appends the events and moves the head. Raises Conflict when the head is not where it was."""
        rows = [
            {
                **entry.event._asdict(),
                "method": entry.method,
                "fingerprint": entry.fingerprint,
                "answer": entry.answer,
                "seal": self._seal(entry.event.revision, entry.event.hash),
            }
            for entry in entries
        ]
        await insert_rows(self._session, EventModel, rows)
        connection = await self._session.connection()
        moved = await connection.execute(
            _MOVE_HEAD,
            {
                "old_revision": before.revision,
                "old_hash": before.hash,
                "revision": head.revision,
                "hash": head.hash,
                "seal": self._seal(head.revision, head.hash),
            },
        )
        if moved.rowcount != 1:
            raise Conflict("the head of the log moved under the writer")

    def _seal(self, revision: int, digest: bytes) -> bytes | None:
        return None if self._log_key is None else self._log_key.seal(revision, digest)

    async def hash_of(self, revision: int) -> bytes | None:
        """The hash of the event with this revision, if it exists."""
        return await self._session.scalar(select(EventModel.hash).where(EventModel.revision == revision))

    async def of_entities(self, entity_ids: Sequence[str]) -> list[Event]:
        """All events of these, in the order of the log. Raises EventUnreadable."""
        return [event_from_row(row) for row in (await self._session.execute(_OF_ENTITIES, {"ids": entity_ids})).all()]

    async def answers(self, request_ids: Sequence[str]) -> Iterable[Part]:
        """What requests with these ids were answered. Raises EventUnreadable."""
        connection = await self._session.connection()
        rows = (await connection.execute(_ANSWERS, {"ids": request_ids})).all()
        return [Part(event_from_row(row), *row[-3:]) for row in rows]

    async def forget_answers(self, before: Instant, limit: int) -> int:
        """Lets the events that are older than `before` answer no repeated request any more: the oldest `limit` of them
        and those of the same commit, as an answer is forgotten as a whole.

        Returns how many were looked at: less than the limit when no more are that old.
        """
        session = self._session
        start = await session.scalar(select(LogHeadModel.forgotten_revision).where(_HEAD)) or 0
        times = select(EventModel.revision, EventModel.time).where(EventModel.revision > start)
        oldest = (await session.execute(times.order_by(EventModel.revision).limit(limit))).all()
        expired = list(takewhile(lambda row: row.time < before, oldest))
        if not expired:
            return 0
        last = expired[-1]
        following = select(EventModel.revision - 1).where(
            EventModel.revision > last.revision, EventModel.time != last.time
        )
        head = select(LogHeadModel.revision).where(_HEAD)
        end: int = (
            await session.scalar(following.order_by(EventModel.revision).limit(1)) or await session.scalar(head) or 0
        )
        old = update(EventModel).where(
            EventModel.answer.is_not(None), EventModel.revision > start, EventModel.revision <= end
        )
        unsynchronized = {"synchronize_session": False}
        # These columns are not hashed: the log stays as it was.
        await session.execute(old.values(method="", fingerprint=None, answer=None), execution_options=unsynchronized)
        moved = update(LogHeadModel).where(_HEAD).values(forgotten_revision=end)
        await session.execute(moved, execution_options=unsynchronized)
        return end - start


def event_from_row(row: AnyRow | Sequence[Any]) -> Event:
    """From a row that begins with EVENT_ATTRIBUTES. Raises EventUnreadable."""
    values = row[: len(Event._fields)]
    if tuple(map(type, values)) not in _EVENT_TYPES:
        raise EventUnreadable(row[0])
    event = Event._make(values)
    entity_type = _ENTITY_TYPES.get(event.entity_type)
    if entity_type is None or event.version < 1 or event.authenticated not in (0, 1):
        raise EventUnreadable(event.revision)
    return event._replace(entity_type=entity_type, authenticated=bool(event.authenticated))


_ANSWERS = using(
    select(*EVENT_ATTRIBUTES, EventModel.method, EventModel.fingerprint, EventModel.answer), EventModel, REQUEST_INDEX
).where(answers_a_request(), one_of(EventModel.request_id, "ids"))
_OF_ENTITIES = select(*EVENT_ATTRIBUTES).where(one_of(EventModel.entity_id, "ids")).order_by(EventModel.revision)
# Sets the columns that the parameters name.
_MOVE_HEAD = update(LogHeadModel).where(
    _HEAD, LogHeadModel.revision == bindparam("old_revision"), LogHeadModel.hash == bindparam("old_hash")
)
_SELECT_HEAD = select(LogHeadModel.revision, LogHeadModel.hash, LogHeadModel.seal).where(_HEAD)
_LOCK_HEAD = _SELECT_HEAD.with_for_update()
