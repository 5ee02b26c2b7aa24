"""The newest part of the log, in memory, for everybody who follows it.

One ring is shared by all watchers. A watcher holds a revision and the few events that it is about to send, so its
memory does not grow however slow it is; one that falls out of the ring reads from the database. Each event is encoded
once per view, however many watchers get it, and so are the runs of them that several watchers take as one message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from plangate_core.process.tasks import cancel_and_wait
from store_service.database.reader import Reader
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.events import Event, LogHead

_log = structlog.get_logger("store")

_READ_AT_ONCE = 500
_READ_BYTES_AT_ONCE = 16 * 1024 * 1024
_PAUSE_SECONDS = 0.5
_EVENT_OVERHEAD_BYTES = 1024
# Watchers that keep up take the same runs; those are small, and the newest matter.
_RUNS = 16


@dataclass(frozen=True, slots=True)
class Subject:
    """The content of the plan or proposal that an event is about, at that time; empty where that cannot be read.

    action_name, args: of proposals; the arguments as canonical JSON.
    """

    created_by: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    action_name: str = ""
    args: str = ""


@dataclass(slots=True, weakref_slot=True)
class RecentEvent:
    """An event and what was made of it so far: encoded by view, and its subject for those who filter by it."""

    event: Event
    encoded: dict[int, bytes] = field(default_factory=dict)
    subject: Subject | None = None

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.event.snapshot) + _EVENT_OVERHEAD_BYTES + sum(map(len, self.encoded.values()))


class RecentEvents:
    """Follows the log. `committed` is called by the writer after each commit; other processes' events are polled for.

    `head_revision` is the last revision known here.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        poll_seconds: float | None,
        max_events: int = 8192,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        """`poll_seconds`: how often to look for other processes' events while anybody follows; None: there are none."""
        self._reader = reader
        self._poll_seconds = poll_seconds
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._ring: deque[RecentEvent] = deque()
        self._bytes = 0
        self._first = 1
        """Revision of the ring's first event, or of the one to come when it is empty."""
        self._committed: list[Event] = []
        self._news = asyncio.Event()
        self._awaiting: dict[asyncio.Future[None], None] = {}
        """Those who wait for more, each with a future of its own: an Event with a timeout per wait costs four times as
        much, and there are hundreds of them."""
        self._runs: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._shared: WeakValueDictionary[int, RecentEvent] = WeakValueDictionary()
        self._followers = 0
        self.watches = 0
        """Changes when all watches must end: what they were sent may not be in the log any more."""
        self._task: asyncio.Task[None] | None = None

    @property
    def head_revision(self) -> int:
        return self._first + len(self._ring) - 1

    @property
    def first_revision(self) -> int:
        """The oldest revision that can be had from here."""
        return self._first

    async def start(self) -> None:
        """Begin at the log's head. Raises DatabaseUnavailable."""
        self._first = (await self._reader.head()).revision + 1
        self._task = asyncio.create_task(self._follow(), name="recent-events")

    async def close(self) -> None:
        """Stop following."""
        if self._task:
            await cancel_and_wait(self._task)

    def committed(self, events: Sequence[Event]) -> None:
        """Take what this process just committed."""
        self._committed.extend(events)
        self._news.set()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While inside, other processes' events are polled for. Entering brings the ring up to the log's head."""
        self._followers += 1
        try:
            if self._poll_seconds is not None:
                await self._catch_up()
                self._news.set()
            yield
        finally:
            self._followers -= 1

    def set_back(self, head: LogHead) -> None:
        """The database went back to an older state that ends here: forgets what it held, and ends all watches."""
        self.watches += 1
        self._ring.clear()
        self._runs.clear()
        self._shared.clear()
        self._committed = []
        self._bytes = 0
        self._first = head.revision + 1
        self._wake_all()

    def since(self, revision: int, limit: int, max_bytes: int) -> list[RecentEvent] | None:
        """Up to `limit` events from this revision on, and no more than max_bytes of them, but at least one if there is
        one; None when it is older than the ring."""
        if revision < self._first:
            return None
        ring, start = self._ring, revision - self._first
        found: list[RecentEvent] = []
        for position in range(start, min(start + limit, len(ring))):
            recent = ring[position]
            max_bytes -= len(recent.event.snapshot)
            if found and max_bytes < 0:
                break
            found.append(recent)
        return found

    def shared(self, revision: int) -> RecentEvent | None:
        """The event that `share` was given, as long as a watcher holds it."""
        return self._shared.get(revision)

    def share(self, event: Event) -> RecentEvent:
        """For a large event that is older than the ring: watchers that are about to send it hold it together."""
        return self._shared.setdefault(event.revision, RecentEvent(event))

    async def more(self, until: float) -> None:
        """Wait until events are appended, or until that time of the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._awaiting[future] = None
        timer = loop.call_at(until, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            self._awaiting.pop(future, None)

    def encoded(self, recent: RecentEvent, view: int, encode: Callable[[Event], bytes]) -> bytes:
        """The event in this view, encoded by the first who asks."""
        found = recent.encoded.get(view)
        if found is None:
            found = recent.encoded[view] = encode(recent.event)
            if recent.event.revision >= self._first:
                self._bytes += len(found)
        return found

    def encoded_run(self, run: Sequence[RecentEvent], view: int, encode: Callable[[], bytes]) -> bytes:
        """Events that follow each other as one message, encoded by the first who asks."""
        first, last = run[0].event.revision, run[-1].event.revision
        if last - first != len(run) - 1 or first < self._first:
            # Filtered, or long ago: no other watcher takes the same run.
            return encode()
        key = (first, last, view)
        found = self._runs.get(key)
        if found is None:
            found = self._runs[key] = encode()
            if len(self._runs) > _RUNS:
                self._runs.popitem(last=False)
        return found

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds if self._followers else None):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            events, self._committed = self._committed, []
            try:
                if events and events[0].revision == self.head_revision + 1 and _has_no_gap(events):
                    self._append(events)
                elif events or self._poll_seconds is not None:
                    await self._catch_up()
            except DatabaseUnavailable as problem:
                # The log itself is safe: what was missed is read as soon as the database answers again.
                _log.warning("the log cannot be followed now", problem=problem.problem)
                await self._try_again(events)
            except Exception:
                # An event that somebody changed, for example. Watchers must not wait for ever once it is mended.
                _log.exception("following the log failed")
                await self._try_again(events)

    async def _try_again(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(_PAUSE_SECONDS)
        self._committed = [*events, *self._committed]
        self._news.set()

    async def _catch_up(self) -> None:
        known = self.head_revision
        if self._poll_seconds is not None and (head := await self._reader.head()).revision < known:
            if known == self.head_revision:
                self.set_back(head)
            return
        while events := await self._reader.events_from(self.head_revision + 1, _READ_AT_ONCE, _READ_BYTES_AT_ONCE):
            # Another caller may have come first while this one read.
            known = self.head_revision + 1 - events[0].revision
            self._append(events[known:])
            # No event is as large as the half: when they are less than that together, none was left out.
            if len(events) < _READ_AT_ONCE and sum(len(event.snapshot) for event in events) < _READ_BYTES_AT_ONCE // 2:
                return

    def _append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        ring = self._ring
        for event in events:
            ring.append(RecentEvent(event))
            self._bytes += len(event.snapshot) + _EVENT_OVERHEAD_BYTES
        while ring and (len(ring) > self._max_events or self._bytes > self._max_bytes):
            self._bytes -= ring.popleft().size
            self._first += 1
        self._wake_all()

    def _wake_all(self) -> None:
        awaiting, self._awaiting = self._awaiting, {}
        for future in awaiting:
            _wake(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _has_no_gap(events: Sequence[Event]) -> bool:
    """False when another process committed between two commits of this one."""
    return events[-1].revision - events[0].revision == len(events) - 1
