"""One watch: everything stored from a revision on, then everything to come, with marks of how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import fields
from typing import Self, TypeAlias

from store_service.database.reader import Reader
from store_service.domain.events import Event
from store_service.event_log.recent_events import RecentEvent, RecentEvents, Subject
from store_service.filters import Expression, Value, predicate
from store_service.queries import RevisionOutOfRange, Viewer, WatchTooSlow

_AT_ONCE = 200
# What one watcher may hold in hand, and so what hundreds of them hold at most.
_BYTES_AT_ONCE = 64 * 1024
_OF_SUBJECT = frozenset(field.name for field in fields(Subject))

Run: TypeAlias = "Sequence[RecentEvent]"


async def watch(
    recent: RecentEvents,
    reader: Reader,
    *,
    start_revision: int,
    where: Expression | None,
    viewer: Viewer,
    subject_of: Callable[[Event], Subject],
    progress_seconds: float,
    max_lag_events: int,
) -> AsyncGenerator[Run | int, None]:
    """Yield runs of events that match, and revisions up to which everything was yielded or did not match.

    The first thing yielded is such a revision. `start_revision` 0 means only what is still to come. Once it has reached
    the head, the watch must not fall behind by more than max_lag_events. `subject_of` reads an event's snapshot.
    Raises RevisionOutOfRange, WatchTooSlow, DatabaseUnavailable.
    """
    loop = asyncio.get_running_loop()
    async with recent.following():
        head, watches = recent.head_revision, recent.watches
        if start_revision > head + 1:
            raise RevisionOutOfRange(head)
        seen = start_revision - 1 if start_revision else head
        yield seen
        marked_at = loop.time()
        has_been_at_the_head = False
        stored = _Stored(reader, recent)
        while True:
            if recent.watches != watches:
                raise RevisionOutOfRange(recent.head_revision)
            run: Run | None = recent.since(seen + 1, _AT_ONCE, _BYTES_AT_ONCE)
            if run is None:
                # Up to the ring: what is in it is kept there, once for all.
                run = await stored.between(seen, recent.first_revision)
            if not run:
                has_been_at_the_head = True
            else:
                if has_been_at_the_head and recent.head_revision - seen > max_lag_events:
                    raise WatchTooSlow(seen + 1)
                seen = run[-1].event.revision
                wanted = run
                if where is not None or viewer.scope.reads is not None:
                    wanted = [each for each in run if _matches(where, viewer, each, subject_of)]
                if wanted:
                    yield wanted
                    marked_at = loop.time()
            if loop.time() - marked_at >= progress_seconds:
                yield seen
                marked_at = loop.time()
            elif not run:
                await recent.more(marked_at + progress_seconds)


class StallGuard:
    """Cancels the task that entered it when something it began takes longer than `limit_seconds`.

    One timer for the whole of a watch, moved on when it goes off too early: asyncio.timeout() around each message would
    cost more than all else that is done for it here.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._struck = False
        self._limit_seconds = limit_seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._begun_at: float | None = None

    def begin(self) -> None:
        """From now on."""
        self._begun_at = self._loop.time()

    def end(self) -> None:
        """It was done in time."""
        self._begun_at = None

    def take_back(self) -> bool:
        """Whether the cancellation that was caught came from here. It does not count any more then."""
        if self._struck and self._task is not None:
            self._task.uncancel()
        return self._struck

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._limit_seconds, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        ends_at = (now if self._begun_at is None else self._begun_at) + self._limit_seconds
        if ends_at > now:
            self._timer = self._loop.call_at(ends_at, self._look)
        elif self._task is not None:
            self._struck = True
            self._task.cancel()


class _Stored:
    """Reads events from the database, as many at a time as a watcher may hold of the size that they have there."""

    def __init__(self, reader: Reader, recent: RecentEvents) -> None:
        self._reader = reader
        self._recent = recent
        self._limit = 8

    async def between(self, revision: int, end: int) -> Run:
        """Events after the one and before the other revision."""
        shared = self._recent.shared(revision + 1)
        if shared is not None:
            return [shared]
        limit = min(self._limit, end - revision - 1)
        events = await self._reader.events_from(revision + 1, limit, _BYTES_AT_ONCE)
        if not events:
            return []
        size = sum(len(event.snapshot) for event in events)
        self._limit = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // (size // len(events) + 1), 2 * self._limit))
        if size > _BYTES_AT_ONCE:
            # One alone, and more than a watcher may hold for itself.
            return [self._recent.share(events[0])]
        return [RecentEvent(event) for event in events]


def _matches(
    where: Expression | None, viewer: Viewer, recent: RecentEvent, subject_of: Callable[[Event], Subject]
) -> bool:
    """Whether an event fits a filter and is in the viewer's scope, both by what its subject was then."""

    def subject() -> Subject:
        if recent.subject is None:
            recent.subject = subject_of(recent.event)
        return recent.subject

    def value_of(field: str, key: str | None) -> Value:
        value: Value | Mapping[str, str] = getattr(subject() if field in _OF_SUBJECT else recent.event, field)
        return value.get(key or "", "") if isinstance(value, Mapping) else value

    if viewer.scope.reads is not None:
        about = subject()
        if not viewer.scope.may_read(
            viewer.identity, created_by=about.created_by, labels=about.labels, action_name=about.action_name
        ):
            return False
    return where is None or predicate(where, value_of)
