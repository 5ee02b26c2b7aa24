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
) -> AsyncGenerator[RecentEvent | int, None]:
    """Yield events that match, and revisions up to which everything was yielded or did not match.

    The first thing yielded is such a revision. `start_revision` 0 means only what is still to come.
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
        in_the_ring = False
        while True:
            events = recent.since(seen + 1, _AT_ONCE)
            if events is not None:
                in_the_ring = True
            elif in_the_ring:
                # It was up to date once and fell behind by more than the ring holds.
                raise WatchTooSlow(seen + 1)
            else:
                events = [RecentEvent(event) for event in await reader.events_from(seen + 1, _AT_ONCE)]
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
