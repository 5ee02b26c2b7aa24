"""The one clock of a store process."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Tests give the writer and the sweeper one that they can set."""

    def now(self) -> datetime:
        """The time as an aware UTC datetime, exact to the microsecond."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)
