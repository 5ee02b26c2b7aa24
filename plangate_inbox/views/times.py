"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def ago(time: Timestamp, now: datetime) -> str:
    """Relative to now: "12 min ago", "in 3 h", "just now"."""
    seconds = int((now - time.ToDatetime(tzinfo=UTC)).total_seconds())
    for size, unit in _STEPS:
        if abs(seconds) >= size:
            amount = f"{abs(seconds) // size} {unit}"
            return f"{amount} ago" if seconds > 0 else f"in {amount}"
    return "just now" if seconds >= 0 else "in a moment"


def exact(time: Timestamp) -> str:
    """To the second, in UTC."""
    return time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(time: Timestamp) -> str:
    """For the `datetime` attribute of `<time>`."""
    return time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
