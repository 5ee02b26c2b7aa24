"""Counting approvals by role, for the store and for executors.

Imports nothing but the standard library and `text`, so that the store's domain may use it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plangate_core.text.look_alikes import person_key


def open_seats(
    requirements: Sequence[tuple[str, int]], approvals: Iterable[tuple[str, Sequence[str]]]
) -> dict[str, int]:
    """How many approvals of each role are missing; empty when none is.

    Each person counts once, and for one requirement only; identities that look alike are one person.

    :param requirements: roles and counts; the role "" takes anybody.
    :param approvals: reviewers, each with those of the roles that they had. An approval without roles counts where one
        role is required: older stores checked the role and did not write it down.
    """
    roles_of: Mapping[str, Sequence[str]] = {person_key(reviewer): roles for reviewer, roles in approvals}
    seats = [role for role, count in requirements for _ in range(count)]
    one_role = len(requirements) == 1
    taken: dict[int, str] = {}

    def seated(person: str, tried: set[int]) -> bool:
        """Finds a seat, moving others to another of theirs where needed (augmenting paths of a bipartite matching)."""
        roles = roles_of[person]
        for seat, role in enumerate(seats):
            if seat in tried or (role and role not in roles and not (one_role and not roles)):
                continue
            tried.add(seat)
            if seat not in taken or seated(taken[seat], tried):
                taken[seat] = person
                return True
        return False

    for person in roles_of:
        seated(person, set())
    missing: dict[str, int] = {}
    for seat, role in enumerate(seats):
        if seat not in taken:
            missing[role] = missing.get(role, 0) + 1
    return missing
