"""One watch: everything stored from a revision on, then everything to come, with marks of how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from store_service.domain.events import Event
from store_service.filters import Expression, Value, predicate
from store_service.queries import RevisionOutOfRange, WatchTooSlow
from store_service.recent_events import LogReader, RecentEvent, RecentEvents

_AT_ONCE = 100


async def watch(
    recent: RecentEvents,
    reader: LogReader,
    *,
    start_revision: int,
    where: Expression | None,
    progress_seconds: float,
    max_lag_events: int,
) -> AsyncGenerator[RecentEvent | int, None]:
    """Yield events that match, and revisions up to which everything was yielded or did not match.

    The first thing yielded is such a revision. `start_revision` 0 means only what is still to come. Once it has reached
    the head, the watch must not fall behind by more than max_lag_events.
    Raises RevisionOutOfRange, WatchTooSlow, DatabaseUnavailable.
    """
    loop = asyncio.get_running_loop()
    async with recent.following():
        head = recent.head_revision
        if start_revision > head + 1:
            raise RevisionOutOfRange(head)
        seen = start_revision - 1 if start_revision else head
        yield seen
        marked_at = loop.time()
        has_been_at_the_head = False
        while True:
            events = recent.since(seen + 1, _AT_ONCE)
            if events is None:
                events = [RecentEvent(event) for event in await reader.events_from(seen + 1, _AT_ONCE)]
            if not events:
                has_been_at_the_head = True
            elif has_been_at_the_head and recent.head_revision - seen > max_lag_events:
                raise WatchTooSlow(seen + 1)
            for event in events:
                seen = event.event.revision
                if where is None or matches(where, event.event):
                    yield event
                    marked_at = loop.time()
            left = marked_at + progress_seconds - loop.time()
            if left <= 0:
                yield seen
                marked_at = loop.time()
            elif not events:
                await recent.wait_beyond(seen, left)


def matches(where: Expression, event: Event) -> bool:
    """Whether an event fits a filter, as a SELECT would say."""

    def value_of(field: str, _key: str | None) -> Value:
        value: Value = getattr(event, field)
        return value

    return predicate(where, value_of)
