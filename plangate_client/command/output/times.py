"""Times for people: how long ago or from now, or exactly with --utc."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# Further away a date says more.
_RELATIVE_SECONDS = 45 * 86_400


@dataclass(frozen=True, slots=True)
class Times:
    """How times are written."""

    utc: bool = False
    """2026-11-29 11:04:16 UTC instead of "3 min ago"."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def age(self, time: Timestamp) -> str:
        """As text, for a column that says "ago" itself."""
        return self.text(time).removesuffix(" ago")

    def text(self, time: Timestamp) -> str:
        """A time; empty when it is not set."""
        if not time.seconds and not time.nanos:
            return ""
        moment = time.ToDatetime(tzinfo=UTC)
        if self.utc:
            return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
        seconds = (moment - self.now).total_seconds()
        if abs(seconds) > _RELATIVE_SECONDS:
            return moment.strftime("%Y-%m-%d")
        size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), (1, "s"))
        count = f"{int(abs(seconds) // size)} {unit}"
        return f"in {count}" if seconds > 0 else f"{count} ago"
