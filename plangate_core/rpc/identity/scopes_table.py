"""The table `scopes` of the tokens file: who may read and execute what.

scopes:
  - {roles: [admin, auditor], reads: all}
  - {roles: [shop], reads: {labels: {team: shop}}}
  - {identities: [shop-runner], executes: {labels: {team: shop}, actions: [refund_order]}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator

from plangate_core.contract.limits import LABEL_KEY, MAX_LABEL_VALUE_CHARACTERS
from plangate_core.contract.scopes import EVERYTHING, Scope, Selection

_ACTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\*?")
# Decides about everybody's requests. It looks after the scopes of those on whose behalf it acts.
_READS_EVERYTHING = "planner"


class FileEntry(BaseModel):
    """A part of the tokens file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SelectionEntry(FileEntry):
    """What carries all of these labels and, where actions are named, is one of them."""

    labels: Mapping[str, str] = {}
    actions: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _selects_something(self) -> SelectionEntry:
        if not (self.labels or self.actions):
            raise ValueError("give labels, actions or both; all is written as one word")
        for key, value in self.labels.items():
            if not LABEL_KEY.fullmatch(key) or not 0 < len(value) <= MAX_LABEL_VALUE_CHARACTERS or "\0" in value:
                raise ValueError("no request can carry such a label")
        if any(not _ACTION.fullmatch(action) for action in self.actions):
            raise ValueError("an action is a name, or the beginning of one with a star: shop.*")
        return self


_Selected: TypeAlias = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[SelectionEntry, Tag("selection")],
    # Else a mistake would be answered with what "all" should look like.
    Discriminator(lambda given: "all" if isinstance(given, str) else "selection"),
]


class ScopeEntry(FileEntry):
    """One row. It is about callers who have one of the roles, or are one of the identities."""

    roles: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    reads: _Selected | None = None
    executes: _Selected | None = None

    @model_validator(mode="after")
    def _says_who_and_what(self) -> ScopeEntry:
        if not (self.roles or self.identities):
            raise ValueError("give roles, identities or both")
        if self.reads is None and self.executes is None:
            raise ValueError("give reads, executes or both")
        return self

    def concerns(self, identity: str, roles: frozenset[str]) -> bool:
        """Whether it is about this caller."""
        return identity in self.identities or not roles.isdisjoint(self.roles)


def scope_of(table: Sequence[ScopeEntry], identity: str, roles: frozenset[str]) -> Scope:
    """All rows about a caller together. What one may execute one may read.

    Reads are limited when any row has `reads`, claims when any has `executes`: a caller without a row reads what they
    requested then, and claims nothing.
    """
    own = [entry for entry in table if entry.concerns(identity, roles)]
    executes = _together(entry.executes for entry in own)
    reads = _together(selected for entry in own for selected in (entry.reads, entry.executes))
    limits_reads = any(entry.reads is not None for entry in table) and _READS_EVERYTHING not in roles
    limits_claims = any(entry.executes is not None for entry in table)
    return Scope(reads if limits_reads else EVERYTHING.reads, executes if limits_claims else EVERYTHING.executes)


def _together(entries: Iterable[_Selected | None]) -> tuple[Selection, ...] | None:
    given = [entry for entry in entries if entry is not None]
    if "all" in given:
        return None
    return tuple(
        Selection(tuple(sorted(entry.labels.items())), entry.actions)
        for entry in given
        if isinstance(entry, SelectionEntry)
    )
