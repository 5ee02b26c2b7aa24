"""The log's bytes and its chain."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_service.domain import events
from store_service.domain.actor import Actor
from store_service.domain.events import GENESIS_HASH, EntityType, Event, EventKind, LogHead


def _event(head: LogHead = LogHead(), **fields: object) -> Event:  # noqa: B008
    values: dict[str, object] = {
        "entity_type": EntityType.PROPOSAL,
        "entity_id": "p-1",
        "version": 1,
        "kind": EventKind.PROPOSAL_CREATED,
        "actor": Actor("alice", authenticated=True, via="planner"),
        "time": 1_700_000_000_000_001,
        "request_id": "r-1",
        "comment": "why",
        "snapshot": b"\x01\x02",
        "plan_id": "l-1",
    }
    return events.append(head, **values | fields)  # type: ignore[arg-type]


def test_the_bytes_are_the_documented_ones() -> None:
    # Written out by hand from docs/reference/event-log.md, so that neither can change alone.
    expected = (
        b"plangate.event.v1\n"
        + bytes(32)
        + bytes.fromhex("000000000000000102000000000000000100060a24181e400101")
        + b"\x00\x00\x00\x03p-1"
        + b"\x00\x00\x00\x10proposal.created"
        + b"\x00\x00\x00\x05alice"
        + b"\x00\x00\x00\x07planner"
        + b"\x00\x00\x00\x03r-1"
        + b"\x00\x00\x00\x03why"
        + b"\x00\x00\x00\x02\x01\x02"
    )
    assert _event().hash == hashlib.sha256(expected).digest()


def test_events_form_a_chain() -> None:
    first = _event()
    second = _event(LogHead(first.revision, first.hash), version=2)
    assert (first.revision, first.prev_hash) == (1, GENESIS_HASH)
    assert (second.revision, second.prev_hash) == (2, first.hash)
    assert events.event_hash(second) == second.hash


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 2},
        {"entity_type": EntityType.PLAN},
        {"entity_id": "p-2"},
        {"version": 2},
        {"kind": "proposal.approved"},
        {"actor": "mallory"},
        {"authenticated": False},
        {"via": ""},
        {"time": 0},
        {"request_id": ""},
        {"comment": "because"},
        {"snapshot": b""},
        {"prev_hash": b"\x01" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_covered(change: dict[str, object]) -> None:
    event = _event()
    assert events.event_hash(event) == event.hash
    assert events.event_hash(event._replace(**change)) != event.hash  # type: ignore[arg-type]


@given(st.lists(st.text(max_size=5), min_size=6, max_size=6), st.lists(st.text(max_size=5), min_size=6, max_size=6))
def test_no_two_events_have_the_same_bytes(one: list[str], other: list[str]) -> None:
    def encoded(texts: list[str]) -> bytes:
        names = ("entity_id", "kind", "actor", "via", "request_id", "comment")
        return events.hashed_bytes(_event()._replace(**dict(zip(names, texts, strict=True))))  # type: ignore[arg-type]

    assert (encoded(one) == encoded(other)) == (one == other)
