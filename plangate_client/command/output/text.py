"""Values as text for a terminal: arguments, ids, states, times."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.timestamp_pb2 import Timestamp

_SHORT_ID_CHARACTERS = 8
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# Further away a date says more.
_RELATIVE_SECONDS = 45 * 86_400


def struct_text(struct: Struct, *, indent: int | None = None) -> str:
    """JSON of a Struct as it is stored: whole numbers without a point, keys sorted, every character visible."""
    from plangate_core.contract.struct_codec import StructRefused, struct_to_json

    try:
        value = struct_to_json(struct, "args", byte_limit=1 << 20, depth_limit=100)
    except StructRefused as error:
        return f"<{error}>"
    return visible(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent), newlines=indent is not None)


def short_id(identifier: str) -> str:
    """The end of an id, which tells more than its beginning: UUIDv7 begins with the time."""
    return visible(identifier[-_SHORT_ID_CHARACTERS:])


@dataclass(frozen=True, slots=True)
class Times:
    """Times for people: how long ago or from now, or exactly."""

    utc: bool = False
    """2026-11-29 11:04:16 UTC instead of "3 min ago"."""
    now: datetime | None = None
    """None: when asked."""

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
        seconds = (moment - (self.now or datetime.now(UTC))).total_seconds()
        if abs(seconds) > _RELATIVE_SECONDS:
            return moment.strftime("%Y-%m-%d")
        size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), (1, "s"))
        count = f"{int(abs(seconds) // size)} {unit}"
        return f"in {count}" if seconds > 0 else f"{count} ago"


AGO = Times()
