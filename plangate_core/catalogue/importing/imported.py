"""What an importer gives: actions as a catalogue file has them, and what had to be changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.catalogue import ACTION_NAME
from plangate_core.catalogue.finding import dotted
from plangate_core.catalogue.importing.schemas import Changes, argument_name, as_arguments, shallow
from plangate_core.catalogue.schema_bounds import SchemaRefused

MAX_DESCRIPTION = 4_000
_UNFIT_CHARACTERS = re.compile(r"[^A-Za-z0-9_.-]+")


class ImportRefused(Exception):
    """Nothing can be imported from this document; the message says why, on one line."""


@dataclass(slots=True)
class Imported:
    """Actions by name, in the order of the source, with what had to be changed and what editors should know of each."""

    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, Changes] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def notes(self, names: Collection[str]) -> list[str]:
        """What was left out, and what was changed in these actions, one line for each kind of change."""
        together = Changes()
        for name in names:
            together.take(self.changes[name], name)
        return [*self.left_out, *together.notes()]

    def add(
        self,
        source_name: str,
        description: str,
        parameters: dict[str, Any],
        *,
        risk: str | None,
        root: Any = None,
        changes: Changes | None = None,
        http: dict[str, Any] | None = None,
        comment: str = "",
    ) -> None:
        """Take in one action. One whose arguments cannot be checked is left out, with a note.

        root: the document that references of the parameters lead into; the parameters themselves when None.
        changes: what was changed before. http: how it is carried out. comment: one line for whoever edits
            the catalogue.
        """
        name = self._name(source_name)
        changes = changes or Changes()
        try:
            schema = self._checked(as_arguments(parameters, root if root is not None else parameters, changes), changes)
        except SchemaRefused as error:
            where = dotted(error.path)
            self.left_out.append(f"left out {name}: {f'{where}: ' if where else ''}{error.message}")
            return
        if name != source_name:
            changes.add(f"named as a catalogue takes it, not {source_name!r}", "")
        words = " ".join(description.split("\0")).strip()
        if not words:
            words = f"{name}."
            changes.add("there is no description, by which models and people choose", "")
        if len(words) > MAX_DESCRIPTION:
            words = words[: MAX_DESCRIPTION - 1].rsplit(None, 1)[0] + "…"
            changes.add(f"the description was cut at {MAX_DESCRIPTION:,} characters", "")
        action: dict[str, Any] = {"name": name, "description": words}
        if risk is not None:
            action["risk"] = risk
        if schema.get("properties") or set(schema) - {"type", "properties"}:
            action["parameters"] = schema
        if http:
            action["http"] = http
        self.actions[name] = action
        self.changes[name] = changes
        self.comments[name] = comment

    def _name(self, source_name: str) -> str:
        """A name that a catalogue takes and no other action has."""
        name = _UNFIT_CHARACTERS.sub("_", source_name).strip("_.-") or "action"
        if not ACTION_NAME.fullmatch(name[:1]):
            name = f"_{name}"
        name = name[:120]
        fresh, number = name, 2
        while fresh in self.actions:
            fresh, number = f"{name}_{number}", number + 1
        return fresh

    def _checked(self, schema: dict[str, Any], changes: Changes) -> dict[str, Any]:
        """The schema, without defaults that do not fit; with fewer levels where it is too much to be checked."""
        try:
            checked = ArgumentSchema(closed(schema))
        except SchemaRefused:
            for depth in (6, 4, 3, 2, 1):
                try:
                    reduced = shallow(schema, depth)
                    checked = ArgumentSchema(closed(reduced))
                except SchemaRefused:
                    continue
                changes.add("objects nested deeper than this are not described any more", f"level {depth}")
                schema = reduced
                break
            else:
                raise
        for unfit in checked.unfit_defaults:
            changes.add("a default that does not fit was left out", argument_name(unfit.path[:-1]))
            holder: Any = schema
            for part in unfit.path[:-1]:
                holder = holder[part]
            del holder["default"]
        return schema


def texts(*values: Any) -> Iterator[str]:
    """Those of the values that are texts with something in them."""
    for value in values:
        if isinstance(value, str) and value.strip():
            yield value.strip()
