"""Relative times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from plangate_inbox.views.times import ago, exact, iso

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=12, seconds=3), "12 min ago"),
        (timedelta(hours=23), "23 h ago"),
        (timedelta(days=3, hours=20), "3 d ago"),
        (timedelta(seconds=-30), "in a moment"),
        (timedelta(hours=-4), "in 4 h"),
    ],
)
def test_times_are_relative(before: timedelta, text: str) -> None:
    time = Timestamp()
    time.FromDatetime(NOW - before)
    assert ago(time, NOW) == text


def test_exact_times_are_in_utc() -> None:
    time = Timestamp()
    time.FromDatetime(NOW)
    assert (exact(time), iso(time)) == ("2026-11-29 12:00:00 UTC", "2026-11-29T12:00:00Z")
