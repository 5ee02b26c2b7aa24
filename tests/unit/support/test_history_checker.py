"""The checker of concurrent histories accepts what is possible and finds what is not."""

from __future__ import annotations

import math

import pytest

from tests.support.history import Read, Write, violations

P = "proposal"


def test_a_possible_history_with_a_lost_answer() -> None:
    history = [
        Write(P, 1, "a", 2, start=0, end=2),
        Read(P, 2, "a", start=1, end=3),
        Write(P, 2, "b", None, start=2, end=math.inf),  # the answer was lost, the change was not
        Read(P, 3, "b", start=5, end=6),
        Write(P, 3, "c", None, start=5, end=math.inf),  # lost altogether
        Write(P, 3, "d", 4, start=6, end=7),
        Read(P, 4, None, start=6.5, end=8),
    ]
    assert violations(history) == []


IMPOSSIBLE = {
    "two winners of one version": [Write(P, 1, "a", 2, 0, 1), Write(P, 1, "b", 2, 0, 1)],
    "a version skipped": [Write(P, 1, "a", 3, 0, 1)],
    "a stale read after the acknowledgement": [Write(P, 1, "a", 2, 0, 1), Read(P, 1, None, 2, 3)],
    "a read before the write began": [Write(P, 1, "a", 2, 5, 6), Read(P, 2, "a", 1, 2)],
    "an acknowledged change that is gone": [
        Write(P, 1, "a", 2, 0, 1),
        Read(P, 2, "a", 1, 2),
        Read(P, 1, None, 3, 4),
    ],
    "somebody else's content": [Write(P, 1, "a", 2, 0, 1), Read(P, 2, "b", 1, 2)],
    "a version nobody wrote": [Read(P, 2, "ghost", 1, 2)],
    "one version, two contents": [
        Write(P, 1, "a", None, 0),
        Write(P, 1, "b", None, 0),
        Read(P, 2, "a", 1, 2),
        Read(P, 2, "b", 1, 2),
    ],
    "later version before the earlier": [
        Write(P, 1, "a", 2, 4, 5),
        Write(P, 2, "b", 3, 0, 1),
    ],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_history_is_found(name: str) -> None:
    assert violations(IMPOSSIBLE[name])
