"""Times that a model took from the request without looking at their unit: `minutes: 2` for "the past two hours".

Where an argument's name or description says its unit, and the request says the very same number, but only with another
unit, the number is converted. Times only: how many megabytes a gigabyte has is a matter of opinion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from planner_service.generation.embedded.review.number_words import NUMBER_WORDS

_MILLISECONDS = {
    "ms millisecond milliseconds": 1,
    "s sec secs second seconds": 1_000,
    "mins minute minutes": 60_000,
    "h hr hrs hour hours": 3_600_000,
    "d day days": 86_400_000,
    "week weeks": 604_800_000,
}
_UNITS = {word: size for words, size in _MILLISECONDS.items() for word in words.split()}
_NUMBER_WORDS = {
    **NUMBER_WORDS,
    "half an": 0.5,
    "half a": 0.5,
    "an": 1,
    "a": 1,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
}
_MEASURE = re.compile(
    rf"(?<![\w.,-])(?:(\d{{1,12}}(?:\.\d{{1,6}})?)[ -]?|({'|'.join(_NUMBER_WORDS)})[ -])([a-z]+)\b", re.IGNORECASE
)
_IN_UNIT = re.compile(r"\b(?:in|of) ([a-z]{2,})\b|\(([a-z]{2,})\)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def in_its_unit(name: str, schema: Mapping[str, Any], value: Any, said: str) -> int | float | None:
    """The value in the argument's unit; None when it may be so already.

    schema: of the argument. said: all that the requester says.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    unit = _unit_of(name, schema)
    if unit is None:
        return None
    units = {other for number, other in _measures(said) if number == value}
    if len(units) != 1 or unit in units:
        return None
    converted = value * units.pop() / unit
    if converted.is_integer():
        return int(converted)
    return converted if schema.get("type") == "number" else None


def _unit_of(name: str, schema: Mapping[str, Any]) -> int | None:
    """In milliseconds, when the name says one, or else the description."""
    # A letter alone says a unit after a number, and nothing in a name.
    words = [word.lower() for word in _WORD.findall(name) if len(word) > 1]
    description = schema.get("description")
    if not (found := {_UNITS[word] for word in words if word in _UNITS}) and isinstance(description, str):
        told = [(first or second).lower() for first, second in _IN_UNIT.findall(description[:1000])]
        found = {_UNITS[word] for word in told if word in _UNITS}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=16)
def _measures(said: str) -> tuple[tuple[float, int], ...]:
    """Every number with its unit in milliseconds. Kept for the next argument of the same plan."""
    return tuple(
        (float(digits) if digits else _NUMBER_WORDS[word.lower()], size)
        for digits, word, unit in _MEASURE.findall(said)
        if (size := _UNITS.get(unit.lower()))
    )
