"""What one caller may read and execute, where the credentials file limits that.

Imports nothing but the standard library, so that the store's domain may use it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """Plans and proposals that carry all of these labels; with actions, only proposals of one of them.

    actions: names, or beginnings of names: `shop.*`.
    """

    labels: tuple[tuple[str, str], ...] = ()
    actions: frozenset[str] = frozenset()

    def includes(self, labels: Mapping[str, str], action_name: str) -> bool:
        """`action_name` is empty for plans."""
        return all(labels.get(key) == value for key, value in self.labels) and self.takes(action_name)

    def takes(self, action_name: str) -> bool:
        """Whether it may include proposals of this action."""
        return (
            not self.actions
            or action_name in self.actions
            or any(action_name.startswith(beginning) for beginning in self.beginnings())
        )

    def beginnings(self) -> list[str]:
        """Of the actions that are not written out, without the star."""
        return [action[:-1] for action in sorted(self.actions) if action.endswith("*")]


@dataclass(frozen=True, slots=True)
class Scope:
    """reads: besides the caller's own requests; None: everything. executes: what they may claim; None: everything."""

    reads: tuple[Selection, ...] | None = None
    executes: tuple[Selection, ...] | None = None

    def may_read(self, identity: str, *, created_by: str, labels: Mapping[str, str], action_name: str = "") -> bool:
        """Whether a plan or proposal of this requester with these labels is in scope of this caller."""
        return (
            self.reads is None
            or created_by == identity
            or any(each.includes(labels, action_name) for each in self.reads)
        )

    def may_execute(self, *, labels: Mapping[str, str], action_name: str) -> bool:
        """Whether a proposal with these labels is in what this caller may claim."""
        return self.executes is None or any(each.includes(labels, action_name) for each in self.executes)


EVERYTHING = Scope()
