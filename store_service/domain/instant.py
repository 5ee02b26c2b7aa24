"""Times and lengths of time, in whole microseconds: exact, cheap to compare, one number in databases and hashes."""

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

# Microseconds since 1970-01-01T00:00:00Z.
Instant: TypeAlias = int
# A length of time in microseconds.
Micros: TypeAlias = int

SECOND: Micros = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant_of(moment: datetime) -> Instant:
    """The instant of an aware datetime, exact to the microsecond."""
    return (moment - _EPOCH) // _MICROSECOND
