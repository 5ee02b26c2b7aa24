"""Durations as people write them in a file: 90s, 15m, 24h, 7d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """The duration that a text says. Raises ValueError with the form that is wanted."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise ValueError("a duration is a whole number and one of s, m, h, d, for example 24h")
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not timedelta(seconds=1) <= duration <= _LONGEST:
        raise ValueError("a duration is at least 1s and at most 366d")
    return duration


def _checked(text: str) -> str:
    parse_duration(text)
    return text


DurationText = Annotated[str, AfterValidator(_checked)]
