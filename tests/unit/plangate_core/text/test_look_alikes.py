"""Who counts as one person."""

from __future__ import annotations

import pytest

from plangate_core.text.look_alikes import person_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "Alice"),
        ("alice", "ALICE"),
        ("alice", "a1ice"),
        ("alice", "aIice"),
        ("bob", "b0b"),
        ("bob", "B0B"),
        ("tom", "torn"),
        ("wendy", "vvendy"),
        ("alice.smith", "alice_smith"),
        ("alice smith", "alicesmith"),
        ("alice", "\uff41lice"),
        ("sue", "5ue"),
    ],
)
def test_look_alikes_are_one_person(one: str, other: str) -> None:
    assert person_key(one) == person_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("alice", "alicia"), ("lead-2", "lead-3"), ("bob", "rob"), ("alice@example.org", "alice@example.com"), ("-", "_")],
)
def test_others_are_two(one: str, other: str) -> None:
    assert person_key(one) != person_key(other)
