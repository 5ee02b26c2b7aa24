"""Schemas of other documents as the arguments of an action: standing alone, in JSON Schema's words, and checkable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from plangate_core.catalogue.json_pointer import pointer, resolve
from plangate_core.catalogue.schema_bounds import (
    MAX_SUBSCHEMAS,
    JsonPath,
    SchemaRefused,
    pattern_is_usable,
    with_subschemas,
)
from plangate_core.catalogue.schema_dialect import rewritten
from plangate_core.contract.limits import INEXACT_FROM

MAX_ARGUMENT_DESCRIPTION = 1_000
_MAX_DEPTH = 40
_MAX_PLACES = 3
_MAX_REFERENCES = 16
_UNFIT_CHARACTERS = re.compile(r"[^A-Za-z0-9_.-]+")
# They describe a document or a wire format, not what may be given.
_OF_OTHERS = frozenset(
    {"xml", "externalDocs", "discriminator", "example", "examples", "$id", "id", "$schema", "$comment"}
)
_DRAFTS_KEPT = ("draft-04", "draft-06", "draft-07", "2019-09", "2020-12")


class Changes:
    """What was changed, kind by kind, with the places."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, what: str, place: str) -> None:
        """Something was changed at an argument; empty: in the action itself."""
        self._places.setdefault(what, []).append(place)

    def take(self, others: Changes, name: str) -> None:
        """Take in what was changed in the action of that name."""
        for what, places in others._places.items():
            for place in dict.fromkeys(places):
                self.add(what, f"{name}.{place}" if place else name)

    def update(self, others: Changes) -> None:
        """Take in what else was changed in the same action."""
        for what, places in others._places.items():
            self._places.setdefault(what, []).extend(places)

    def __bool__(self) -> bool:
        return bool(self._places)

    def notes(self) -> Iterator[str]:
        """One line for each kind: the first places, and how many more there are."""
        for what, places in self._places.items():
            more = len(places) - _MAX_PLACES
            yield f"{what}: {', '.join(places[:_MAX_PLACES])}{f' and {more} more' if more > 0 else ''}"


def as_arguments(schema: dict[str, Any], root: Any, changes: Changes) -> dict[str, Any]:
    """The schema of an action's arguments: what it refers to goes into its own `$defs`."""
    copy = _Copy(root, changes)
    arguments = copy.of(schema, ())
    arguments.setdefault("type", "object")
    if definitions := copy.definitions():
        arguments["$defs"] = definitions
    draft = schema.get("$schema")
    if isinstance(draft, str) and any(known in draft for known in _DRAFTS_KEPT):
        arguments = {"$schema": draft, **arguments}
    read = rewritten(arguments)
    for path, note in read.notes:
        changes.add(note, argument_name(path[:-1]))
    for path in read.unreachable:
        changes.add("a bound that no number reaches was left out", argument_name(path[:-1]))
    return read.schema


def shallow(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    """The schema with references in place down to so many levels, and without what is below them.

    Raises SchemaRefused where that alone is more than a schema may have.
    """
    reduced: dict[str, Any] = _Shallow(schema).of(schema, depth, 0)
    return reduced


class _Shallow:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MAX_SUBSCHEMAS

    def of(self, schema: Any, depth: int, references: int) -> Any:
        if not isinstance(schema, dict):
            return schema
        self._left -= 1
        if self._left < 0:
            raise SchemaRefused((), f"more than {MAX_SUBSCHEMAS} subschemas")
        if isinstance(reference := schema.get("$ref"), str) and references < _MAX_DEPTH:
            target = resolve(self._root, reference)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return self.of({**(target if isinstance(target, dict) else {}), **beside}, depth, references + 1)
        if depth == 0 or "$ref" in schema:
            return {key: schema[key] for key in ("type", "description", "enum", "title") if key in schema}
        kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
        # Alternatives are about the same value: a level less, so that they end, too.
        return with_subschemas(kept, lambda child, _: self.of(child, depth - 1, references))


class _Copy:
    """Copies schemas out of a document, with what they refer to."""

    def __init__(self, root: Any, changes: Changes) -> None:
        self._root = root
        self._changes = changes
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}

    def definitions(self) -> dict[str, Any]:
        """Everything that was referred to, by the name it has got."""
        waiting = [reference for reference, name in self._names.items() if name not in self._definitions]
        while waiting:
            for reference in waiting:
                name = self._names[reference]
                self._definitions[name] = self.of(resolve(self._root, reference), ("$defs", name))
            waiting = [reference for reference, name in self._names.items() if name not in self._definitions]
        return self._definitions

    def of(self, schema: Any, path: JsonPath) -> Any:
        if not isinstance(schema, dict) or len(path) > 3 * _MAX_DEPTH:
            return schema if isinstance(schema, bool) else {}
        kept = {
            key: value
            for key, value in schema.items()
            if key not in _OF_OTHERS and key not in ("$defs", "definitions") and not key.startswith("x-")
        }
        fresh = with_subschemas(kept, lambda child, way: self.of(child, (*path, *way)))
        self._leave_out_read_only(fresh, path)
        self._point(fresh, path)
        self._mend(fresh, path)
        return fresh

    def _leave_out_read_only(self, schema: dict[str, Any], path: JsonPath) -> None:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return
        read_only = {
            name for name, held in properties.items() if isinstance(held, dict) and held.get("readOnly") is True
        }
        if not read_only:
            return
        for name in sorted(read_only):
            self._changes.add("what may only be read was left out", argument_name((*path, "properties", name)))
        schema["properties"] = {name: held for name, held in properties.items() if name not in read_only}
        if isinstance(required := schema.get("required"), list):
            schema["required"] = [name for name in required if name not in read_only]

    def _point(self, schema: dict[str, Any], path: JsonPath) -> None:
        """Lets a reference lead to a definition of ours."""
        reference = schema.get("$ref")
        if not isinstance(reference, str) or reference == "#":
            return
        if not isinstance(resolve(self._root, reference), (dict, bool)):
            del schema["$ref"]
            self._changes.add("a reference that leads out of the document takes anything now", argument_name(path))
            return
        if reference not in self._names:
            name = _UNFIT_CHARACTERS.sub("_", reference.rsplit("/", 1)[-1]) or "schema"
            fresh, number = name, 2
            while fresh in self._names.values():
                fresh, number = f"{name}_{number}", number + 1
            self._names[reference] = fresh
        schema["$ref"] = pointer(("$defs", self._names[reference]))

    def _mend(self, schema: dict[str, Any], path: JsonPath) -> None:
        description = schema.get("description")
        if isinstance(description, str) and len(description) > MAX_ARGUMENT_DESCRIPTION:
            schema["description"] = description[: MAX_ARGUMENT_DESCRIPTION - 1].rsplit(None, 1)[0] + "…"
            self._changes.add(f"a description was cut at {MAX_ARGUMENT_DESCRIPTION:,} characters", argument_name(path))
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not pattern_is_usable(pattern):
            del schema["pattern"]
            self._changes.add("a pattern that cannot be checked was left out", argument_name(path))
        by_pattern = schema.get("patternProperties")
        if isinstance(by_pattern, dict) and not all(map(pattern_is_usable, by_pattern)):
            schema["patternProperties"] = {key: held for key, held in by_pattern.items() if pattern_is_usable(key)}
            self._changes.add("a pattern that cannot be checked was left out", argument_name(path))
        for keyword in ("default", "const"):
            if _is_inexact(schema.get(keyword)):
                del schema[keyword]
                self._changes.add(f"a {keyword} of 2^53 or more was left out", argument_name(path))
        choices = schema.get("enum")
        if isinstance(choices, list) and any(map(_is_inexact, choices)):
            schema["enum"] = [choice for choice in choices if not _is_inexact(choice)]
            self._changes.add("choices of 2^53 or more were left out", argument_name(path))
        if schema.get("type") in ("file", "binary"):
            schema["type"] = "string"
            self._changes.add("a file is given as text", argument_name(path))
        if isinstance(schema.get("required"), bool):
            # Draft 3, and a common mistake in OpenAPI files.
            del schema["required"]
            self._changes.add("required: true in a property means nothing and was left out", argument_name(path))


def followed(schema: Any, document: Any) -> Mapping[str, Any]:
    """What a reference to a component leads to; an empty mapping for what is none."""
    for _ in range(_MAX_REFERENCES):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            break
        schema = resolve(document, reference)
    return schema if isinstance(schema, Mapping) else {}


def _is_inexact(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) >= INEXACT_FROM


def argument_name(path: JsonPath) -> str:
    """The argument that a path leads to, without the keywords on the way."""
    skipped = {"properties", "items", "$defs", "allOf", "anyOf", "oneOf", "additionalProperties"}
    return ".".join(str(part) for part in path if part not in skipped and not isinstance(part, int))
