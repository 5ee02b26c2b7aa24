"""Walking the log, in pieces, beside everything else that the store does: its chain of hashes, and whether each entry
follows from what the log says of its plan or proposal before."""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from store_service.database.reader import Reader
from store_service.domain.errors import InvalidField
from store_service.domain.events import GENESIS_HASH, Event, EventKind, EventUnreadable, LogHead, event_hash
from store_service.domain.log_audit import PlanEntry, ProposalEntry, plan_fault, proposal_fault
from store_service.domain.seals import LogKey, head_fault

ReadEntry: TypeAlias = Callable[[Event], ProposalEntry | PlanEntry]

_AT_ONCE = 500
_BYTES_AT_ONCE = 8 * 1024 * 1024
# What may happen to what has ended, and is not remembered any more.
_AFTER_THE_END = frozenset(
    {EventKind.PLAN_DELETED, EventKind.PLAN_PURGED, EventKind.PROPOSAL_DELETED, EventKind.PROPOSAL_PURGED}
)
_UNREADABLE = "it has values that no event can have"


@dataclass(frozen=True)
class Finding:
    """What a walk found. `first_bad_revision` 0 and an empty `problem`: everything fits."""

    events_checked: int
    head: LogHead
    first_bad_revision: int = 0
    problem: str = ""


class Replay:
    """The rules of `domain.log_audit` over events in the order of the log.

    Remembers the last entry of what has not ended yet. Of what began before the walk, or was forgotten because too much
    is open at once, only what an entry says by itself is checked.
    """

    def __init__(
        self, read_entry: ReadEntry, planner_identity: str, *, from_the_beginning: bool, max_remembered: int = 200_000
    ) -> None:
        self._read_entry = read_entry
        self._planner_identity = planner_identity
        self._max_remembered = max_remembered
        self._knows_all = from_the_beginning
        self._last: OrderedDict[str, ProposalEntry | PlanEntry] = OrderedDict()

    def first_fault(self, events: Sequence[Event]) -> tuple[int, str] | None:
        """The first revision that no rule allows, and why; None when all are allowed."""
        for event in events:
            fault = self._fault(event)
            if fault:
                return event.revision, fault
        return None

    def _fault(self, event: Event) -> str:
        try:
            entry = self._read_entry(event)
        except ValueError as problem:
            return str(problem)
        before = self._last.pop(event.entity_id, None)
        if before is None and event.version != 1 and self._knows_all and event.kind not in _AFTER_THE_END:
            return f"the log has no version {event.version - 1} of it, or it had ended"
        if before is not None and type(before) is not type(entry):
            return f"its entity was a {'plan' if isinstance(before, PlanEntry) else 'proposal'} before"
        if before is not None and before.version + 1 != event.version:
            return f"version {event.version} does not follow version {before.version}"
        if isinstance(entry, PlanEntry):
            fault = plan_fault(before if isinstance(before, PlanEntry) else None, entry)
        else:
            earlier = before if isinstance(before, ProposalEntry) else None
            fault = proposal_fault(earlier, entry, self._planner_identity)
        if not fault and not entry.ended:
            self._last[event.entity_id] = entry
            if len(self._last) > self._max_remembered:
                self._last.popitem(last=False)
                self._knows_all = False
        return fault


async def verify_log(
    reader: Reader,
    start_revision: int = 0,
    end_revision: int = 0,
    *,
    read_entry: ReadEntry,
    planner_identity: str,
    log_key: LogKey | None = None,
) -> Finding:
    """Check the events from start (0: the first) to end (0: the head). When the walk gets to the head, check the head
    row too, and that nothing is beyond it.

    read_entry: what an event says; raises ValueError.
    planner_identity: whose word is policy's when an entry does not say who decided.
    log_key: must have sealed every entry and the head; None: seals are not looked at.

    The log may grow meanwhile: the head is the one at the beginning. Raises InvalidField, DatabaseUnavailable.
    """
    head = await reader.head()
    start = start_revision or 1
    end = end_revision or head.revision
    if start < 1 or start > max(head.revision, 1):
        raise InvalidField("start_revision", f"must be from 1 to the head, {head.revision}")
    if end < start - 1 or end > head.revision:
        raise InvalidField("end_revision", f"must be from start_revision to the head, {head.revision}")
    previous = GENESIS_HASH
    if start > 1:
        try:
            before = await _readable(reader, start - 1, 1)
        except EventUnreadable:
            return Finding(0, head, start - 1, _UNREADABLE)
        if not before or before[0].revision != start - 1:
            return Finding(0, head, start - 1, "it is missing")
        previous = before[0].hash
    replay = Replay(read_entry, planner_identity, from_the_beginning=start == 1)
    expected = start
    while expected <= end:
        try:
            events = await _readable(reader, expected, min(_AT_ONCE, end + 1 - expected))
        except EventUnreadable:
            return Finding(expected - start, head, expected, _UNREADABLE)
        if not events:
            return Finding(expected - start, head, expected, "it is missing")
        # Hashing lets go of the interpreter's lock, and reading a piece of the log does so too.
        bad = await asyncio.to_thread(first_bad, events, expected, previous, replay, log_key)
        if bad:
            return Finding(bad[0] - start, head, *bad)
        expected, previous = events[-1].revision + 1, events[-1].hash
    if end == head.revision and previous != head.hash:
        return Finding(
            expected - start, head, max(head.revision, 1), "the head row has another hash than the last event"
        )
    if end == head.revision and await _is_beyond_the_head(reader, head.revision + 1):
        return Finding(expected - start, head, head.revision + 1, "it is beyond what the head row says")
    if log_key is not None and (fault := head_fault(log_key, head)):
        return Finding(expected - start, head, max(head.revision, 1), fault)
    return Finding(expected - start, head)


async def _readable(reader: Reader, revision: int, limit: int) -> Sequence[Event]:
    """Events from this revision on, as far as they can be read. Raises EventUnreadable when this very one cannot."""
    while True:
        try:
            return await reader.events_from(revision, limit, _BYTES_AT_ONCE)
        except EventUnreadable as found:
            if found.revision == revision:
                raise
            if limit == 1:
                # The next one there is is another one.
                return []
            limit = max(1, min(limit // 2, found.revision - revision))


async def _is_beyond_the_head(reader: Reader, revision: int) -> bool:
    """Whether there is an event from this revision on that the head row leaves out."""
    try:
        events = await reader.events_from(revision, 1, _BYTES_AT_ONCE)
    except EventUnreadable:
        return True
    # The log may have grown since the head was read. It grows with its head row, so that has it by now.
    return bool(events) and (await reader.head()).revision < events[0].revision


def first_bad(
    events: Sequence[Event],
    expected_revision: int,
    previous_hash: bytes,
    replay: Replay,
    log_key: LogKey | None,
) -> tuple[int, str] | None:
    """The first revision that does not follow from what is before it, and what is wrong; None when all do."""
    broken = _first_broken(events, expected_revision, previous_hash, log_key)
    sound = events if broken is None else events[: broken[0] - expected_revision]
    return replay.first_fault(sound) or broken


def _first_broken(
    events: Sequence[Event], expected_revision: int, previous_hash: bytes, log_key: LogKey | None
) -> tuple[int, str] | None:
    for event in events:
        if event.revision != expected_revision:
            return expected_revision, "it is missing"
        if event.prev_hash != previous_hash:
            return event.revision, "its prev_hash is not the hash of the event before it"
        try:
            fits = event_hash(event) == event.hash
        except (AttributeError, TypeError, ValueError, struct.error):
            # SQLite lets a column hold any type.
            return event.revision, _UNREADABLE
        if not fits:
            return event.revision, "its hash is not that of its content"
        if log_key is not None and not log_key.has_sealed(event):
            return event.revision, "it has no seal of the log's key: it was written without the store"
        expected_revision, previous_hash = event.revision + 1, event.hash
    return None
