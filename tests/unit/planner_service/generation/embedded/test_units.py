"""Times in another unit than the argument's."""

from __future__ import annotations

from typing import Any

import pytest

from planner_service.generation.embedded.review.units import in_its_unit

WHOLE = {"type": "integer"}
ANY = {"type": "number"}


@pytest.mark.parametrize(
    ("name", "schema", "value", "said", "meant"),
    [
        ("minutes", WHOLE, 2, "in the past two hours", 120),
        ("timeoutSeconds", WHOLE, 5, "a timeout of 5 minutes", 300),
        ("ttl", {**WHOLE, "description": "Time to live in seconds."}, 1, "for an hour", 3600),
        ("wait", {**WHOLE, "description": "Pause (ms)"}, 3, "wait 3s", 3000),
        ("older_than_days", WHOLE, 2, "older than 2 weeks", 14),
        ("minutes", WHOLE, 0.5, "half an hour", 30),
        ("hours", ANY, 30, "a 30-minute break", 0.5),
        ("hours", ANY, 90.0, "90 Minutes", 1.5),
    ],
)
def test_a_number_of_another_unit_is_converted(
    name: str, schema: dict[str, Any], value: float, said: str, meant: float
) -> None:
    assert in_its_unit(name, schema, value, said) == meant


@pytest.mark.parametrize(
    ("name", "schema", "value", "said"),
    [
        ("minutes", WHOLE, 120, "the past two hours"),
        ("minutes", WHOLE, 2, "2 minutes"),
        ("minutes", WHOLE, 2, "2 minutes within 2 hours"),
        ("seconds", WHOLE, 2, "2 minutes or 2 hours"),
        ("hours", WHOLE, 30, "for 30 minutes"),
        ("replicas", WHOLE, 2, "2 hours"),
        ("name", {"type": "string"}, "2", "2 hours"),
        ("minutes", {"type": "boolean"}, True, "an hour"),
        ("minutes", WHOLE, 2, "2 hosts"),
        ("minutes", WHOLE, 2, "1.2 hours"),
        ("minutes_or_hours", WHOLE, 2, "2 hours"),
        ("seconds", WHOLE, 10**400, "1 hour"),
        ("seconds", WHOLE, float("inf"), "1 hour"),
    ],
)
def test_what_may_be_right_is_left_alone(name: str, schema: dict[str, Any], value: Any, said: str) -> None:
    assert in_its_unit(name, schema, value, said) is None
