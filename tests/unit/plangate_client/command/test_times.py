"""Times as people like to read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from plangate_client.command.output.text import Times

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


def at(moment: datetime) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(moment)
    return time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (-59.9, "59 s ago"),
        (-60, "1 min ago"),
        (-3_599, "59 min ago"),
        (-7_200, "2 h ago"),
        (-86_400, "1 d ago"),
        (-44 * 86_400, "44 d ago"),
        (-46 * 86_400, "2026-10-14"),
        (90, "in 1 min"),
        (86_400 * 3, "in 3 d"),
    ],
)
def test_how_long_ago(seconds: float, text: str) -> None:
    assert Times(now=NOW).text(at(NOW + timedelta(seconds=seconds))) == text


def test_exact() -> None:
    assert Times(utc=True, now=NOW).text(at(NOW)) == "2026-11-29 12:00:00 UTC"


def test_the_last_day_of_all_and_none() -> None:
    last = Timestamp()
    last.FromJsonString("9999-12-31T23:59:59Z")
    assert Times(now=NOW).text(last) == "9999-12-31"
    assert Times(now=NOW).text(Timestamp()) == ""
