"""What the JSON Schema of an action declares: the names of its arguments, and the values that they may have."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plangate_core.catalogue.catalogue import Action
from plangate_core.catalogue.json_pointer import resolve

_MOST_SCHEMAS = 1_000
_KINDS = {"string": (str,), "integer": (int, float), "number": (int, float), "boolean": (bool,), "null": (type(None),)}


@dataclass(frozen=True, slots=True)
class Place:
    """A value within arguments: the schemas that may apply to it, each with the root that its references start from."""

    schemas: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]

    @classmethod
    def arguments_of(cls, actions: Iterable[Action]) -> Place:
        """The arguments of any of these actions."""
        return cls(tuple((action.parameters, action.parameters) for action in actions))

    def names(self) -> frozenset[str] | None:
        """The members that are declared; None where any may be there."""
        found: set[str] = set()
        for root, schema in self.schemas:
            applied = list(_applied(root, schema))
            declared = [name for part in applied for name in _mapping(part, "properties")]
            if not declared and not any(part.get("additionalProperties") is False for part in applied):
                return None
            if any(_is_open(part) for part in applied):
                return None
            found.update(declared)
        return frozenset(found)

    def member(self, name: str) -> Place:
        """What a member of that name holds; no schemas where none is declared."""
        return Place(
            tuple(
                (root, part["properties"][name])
                for root, schema in self.schemas
                for part in _applied(root, schema)
                if isinstance(_mapping(part, "properties").get(name), dict)
            )
        )

    def members(self) -> Iterator[tuple[str, Place]]:
        """All declared members, each once."""
        parts = [part for root, schema in self.schemas for part in _applied(root, schema)]
        for name in sorted({name for part in parts for name in _mapping(part, "properties")}):
            yield name, self.member(name)

    def values(self) -> tuple[Any, ...] | None:
        """All values that are allowed, where the schemas list them; else None."""
        listed: list[Any] = []
        for root, schema in self.schemas:
            values = _listed(root, schema)
            if values is None:
                return None
            listed.extend(value for value in values if value not in listed)
        return tuple(listed) if self.schemas else None

    def may_be(self, value: Any) -> bool:
        """Whether the value is one of those listed, or of a type that the schemas allow."""
        if not self.schemas:
            return True
        values = self.values()
        if values is not None:
            return any(_same(value, allowed) for allowed in values)
        return self.type_allows(value)

    def type_allows(self, value: Any) -> bool:
        """Whether the value is of a type that any of the schemas allows."""
        return not self.schemas or any(_type_allows(root, schema, value) for root, schema in self.schemas)


def close_to(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is meant; empty when none is near."""
    near = difflib.get_close_matches(name[:200], list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """A value of JSON as people write it."""
    return json.dumps(value, ensure_ascii=False)


def _applied(root: Mapping[str, Any], schema: Any) -> Iterator[Mapping[str, Any]]:
    """The schema and those that it applies to the same value, each once."""
    seen: set[int] = set()
    waiting = [schema]
    while waiting and len(seen) < _MOST_SCHEMAS:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(reference := part.get("$ref"), str):
            waiting.append(resolve(root, reference))
        for keyword in ("allOf", "anyOf", "oneOf"):
            if isinstance(branches := part.get(keyword), Sequence):
                waiting.extend(branches)
        waiting.extend(part.get(keyword) for keyword in ("if", "then", "else"))
        waiting.extend(_mapping(part, "dependentSchemas").values())


def _listed(root: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Any] | None:
    """The values of `enum` and `const`; those of all alternatives where each has some."""
    if isinstance(values := schema.get("enum"), list):
        return list(values)
    if "const" in schema:
        return [schema["const"]]
    if isinstance(reference := schema.get("$ref"), str):
        target = resolve(root, reference)
        return _listed(root, target) if isinstance(target, Mapping) else None
    for branch in schema.get("allOf", ()):
        if isinstance(branch, Mapping) and (values := _listed(root, branch)) is not None:
            return values
    for keyword in ("anyOf", "oneOf"):
        if branches := schema.get(keyword):
            listed = [_listed(root, branch) if isinstance(branch, Mapping) else None for branch in branches]
            found = [value for values in listed if values is not None for value in values]
            nulls = [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") == "null"]
            if all(values is not None for values in listed):
                return found
            if sum(values is None for values in listed) == len(nulls):
                return [*found, None]
    return None


def _type_allows(root: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> bool:
    kinds: set[str] = set()
    for part in _applied(root, schema):
        kind = part.get("type")
        kinds.update([kind] if isinstance(kind, str) else kind if isinstance(kind, list) else ())
    if not kinds:
        return True
    if isinstance(value, bool):
        return "boolean" in kinds
    return any(isinstance(value, _KINDS.get(kind, ())) for kind in kinds)


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether it says itself that further members are welcome."""
    return bool(
        schema.get("additionalProperties", False) is not False
        or schema.get("unevaluatedProperties", False) is not False
        or schema.get("patternProperties")
    )


def _mapping(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    held = schema.get(keyword)
    return held if isinstance(held, Mapping) else {}


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
