"""Following the log: what is wrong with it for a while holds nobody up for ever."""

from __future__ import annotations

import pytest

from store_service.domain import events
from store_service.domain.actor import Actor
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.events import EntityType, Event, EventKind, EventUnreadable, LogHead
from store_service.event_log.recent_events import RecentEvents
from tests.support.polling import until


class Log:
    """One in memory, to which another process appends. `fault` is raised by every read as long as it is there."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fault: Exception | None = None
        self.failed_reads = 0

    def append(self) -> None:
        head = LogHead(self.events[-1].revision, self.events[-1].hash) if self.events else LogHead()
        self.events.append(
            events.append(
                head,
                entity_type=EntityType.PROPOSAL,
                entity_id=f"p-{head.revision}",
                version=1,
                kind=EventKind.PROPOSAL_CREATED,
                actor=Actor("alice"),
                time=1,
                request_id="",
                comment="",
                snapshot=b"",
                plan_id="",
            )
        )

    async def head(self) -> LogHead:
        return LogHead()

    async def events_from(self, revision: int, limit: int, max_bytes: int) -> list[Event]:
        if self.fault is not None:
            self.failed_reads += 1
            raise self.fault
        return self.events[revision - 1 : revision - 1 + limit]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [DatabaseUnavailable("away"), EventUnreadable(1), OSError("whatever")])
async def test_following_goes_on_after_a_fault(fault: Exception) -> None:
    log = Log()
    recent = RecentEvents(log, poll_seconds=0.01)
    await recent.start()
    try:
        async with recent.following():
            log.fault = fault
            log.append()
            await until(lambda: log.failed_reads > 0)
            log.fault = None
            await until(lambda: recent.head_revision == 1)
    finally:
        await recent.close()


def test_large_events_are_shared_as_long_as_somebody_holds_them() -> None:
    log = Log()
    log.append()
    recent = RecentEvents(log, poll_seconds=None)
    first = recent.share(log.events[0])
    assert recent.share(log.events[0]) is first
    assert recent.shared(1) is first
    del first
    assert recent.shared(1) is None
