"""What bounds a JSON Schema that somebody wrote: refused before it is compiled when it could reach out or run away.

Patterns run in time that is linear in the text, or, with look-around and back references, in a bounded number of
steps; references stay inside the document. What a schema could still do is multiply: ten `$ref`s that each name the
next one twice are a thousand checks of one value. So the checks that one value can undergo are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jsonschema_rs

from plangate_core.catalogue.json_pointer import resolve
from plangate_core.contract.limits import MAX_ARGS_DEPTH
from plangate_core.text.truncation import truncate

MAX_SUBSCHEMAS = 5_000
MAX_SCHEMA_DEPTH = 48
MAX_CHECKS_PER_VALUE = 20_000
MAX_PATTERN_LENGTH = 1_000
# What one compiled pattern may take, in bytes: the engine refuses a pattern that unfolds to more.
_PATTERN_BYTES = 1 << 20
# Of backtracking, for one value: about 0.2 ms.
_PATTERN_STEPS = 10_000


JsonPath = tuple[str | int, ...]

# Keywords by what they hold and to what it is applied: the value itself, or the values inside it.
IN_PLACE = ("not", "if", "then", "else", "dependentSchemas", "dependencies", "allOf", "anyOf", "oneOf")
_INSIDE = (
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
)
_DEFINITIONS = ("$defs", "definitions")
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies", *_DEFINITIONS})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class SchemaRefused(Exception):
    """The schema cannot be used. `faults`: path from its root, and message, of all that is wrong; at least one."""

    def __init__(self, path: JsonPath, message: str, more: Sequence[tuple[JsonPath, str]] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.faults = ((path, message), *more)


class SchemaGraph:
    """The subschemas of one document and who applies whom."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._count = 0
        self._schemas: list[tuple[dict[str, Any], JsonPath]] = []
        self._checks: dict[tuple[int, int], int] = {}
        self._anchors: dict[str, list[dict[str, Any]]] = {}
        self._faults: list[tuple[JsonPath, str]] = []

    def faults(self) -> list[tuple[JsonPath, str]]:
        """What is wrong with patterns, references and ids. Raises SchemaRefused for a schema too large to look at."""
        self._walk(self._root, (), 0)
        for schema, path in self._schemas:
            for keyword in _REFERENCES:
                if keyword in schema:
                    try:
                        self._targets(schema, keyword, path)
                    except SchemaRefused as refused:
                        self._faults.append((refused.path, refused.message))
        return self._faults

    def checks_per_value(self) -> int:
        """How many checks one value may cause, at most. Raises SchemaRefused. `faults` found none before."""
        checks = self._weigh(self._root, MAX_ARGS_DEPTH, frozenset())
        if checks > MAX_CHECKS_PER_VALUE:
            raise SchemaRefused(
                (),
                f"references and alternatives multiply: one value could be checked over {MAX_CHECKS_PER_VALUE} times",
            )
        return checks

    def _walk(self, schema: Any, path: JsonPath, depth: int) -> None:
        self._count += 1
        if self._count > MAX_SUBSCHEMAS:
            raise SchemaRefused(path, f"more than {MAX_SUBSCHEMAS} subschemas")
        if depth > MAX_SCHEMA_DEPTH:
            raise SchemaRefused(path, f"subschemas nested deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            self._faults.append((path, "a schema must be a mapping, true or false"))
            return
        self._schemas.append((schema, path))
        if path and ("$id" in schema or isinstance(schema.get("id"), str)) and "$ref" not in schema:
            self._faults.append(((*path, "$id"), "$id is only allowed at the top: references stay inside the document"))
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(keyword), str):
                self._anchors.setdefault(anchor, []).append(schema)
        self._check_patterns(schema, path)
        for keyword, key, child in subschemas(schema):
            self._walk(child, (*path, keyword, *key), depth + 1)

    def _check_patterns(self, schema: dict[str, Any], path: JsonPath) -> None:
        patterns = [("pattern", schema["pattern"])] if isinstance(schema.get("pattern"), str) else []
        if isinstance(by_pattern := schema.get("patternProperties"), dict):
            patterns += [("patternProperties", pattern) for pattern in by_pattern]
        for keyword, pattern in patterns:
            if len(pattern) > MAX_PATTERN_LENGTH:
                self._faults.append(((*path, keyword), f"a pattern is longer than {MAX_PATTERN_LENGTH} characters"))
            elif not pattern_is_usable(pattern):
                message = f"the pattern {truncate(pattern, 80)!r} cannot be used: it is wrong, or unfolds to too much"
                self._faults.append(((*path, keyword), message))

    def _targets(self, schema: dict[str, Any], keyword: str, path: JsonPath) -> list[Any]:
        reference = schema[keyword]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefused((*path, keyword), "a reference must stay inside the document: begin it with #")
        if reference == "#" or keyword == "$recursiveRef":
            return [self._root]
        if not reference.startswith("#/"):
            if found := self._anchors.get(reference[1:]):
                return list(found)
            raise SchemaRefused((*path, keyword), f"the document has no anchor {truncate(reference, 80)!r}")
        target = resolve(self._root, reference)
        if not isinstance(target, (dict, bool)):
            raise SchemaRefused((*path, keyword), f"{truncate(reference, 80)!r} leads to no schema of the document")
        return [target]

    def _weigh(self, schema: Any, depth: int, open_here: frozenset[int]) -> int:
        """How many checks one value and its innermost descendant can cause together, at most.

        The cost of a schema is 1, plus what it applies to the same value, plus what it applies to the values inside,
        `depth` levels down at most. Of `properties` only the dearest counts: a key meets one of them.
        """
        if not isinstance(schema, dict) or depth < 0:
            return 1
        if id(schema) in open_here:
            raise SchemaRefused((), "a reference leads back to itself without looking inside the value")
        known = self._checks.get((id(schema), depth))
        if known is not None:
            return known
        here = open_here | {id(schema)}
        total = 1
        for keyword in _REFERENCES:
            if keyword in schema:
                total += sum(self._weigh(target, depth, here) for target in self._targets(schema, keyword, ()))
        dearest = 0
        for keyword, _, child in subschemas(schema):
            if keyword == "properties":
                dearest = max(dearest, self._weigh(child, depth - 1, frozenset()))
            elif keyword in IN_PLACE:
                total += self._weigh(child, depth, here)
            elif keyword in _INSIDE:
                # unevaluated* runs its neighbours a second time to learn what they looked at.
                factor = 2 if keyword.startswith("unevaluated") else 1
                total = total * factor + self._weigh(child, depth - 1, frozenset())
            total = min(total, MAX_CHECKS_PER_VALUE + 1)
        total = min(total + dearest, MAX_CHECKS_PER_VALUE + 1)
        self._checks[id(schema), depth] = total
        return total


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, JsonPath, Any]]:
    """Keyword, key under it, and subschema, for every subschema of one schema."""
    for keyword in ("properties", *_INSIDE, *IN_PLACE, *_DEFINITIONS):
        held = schema.get(keyword)
        if keyword in _MAPS and isinstance(held, dict):
            # A `dependencies` entry may also be a list of names.
            yield from ((keyword, (name,), child) for name, child in held.items() if not isinstance(child, list))
        elif isinstance(held, list):
            yield from ((keyword, (index,), child) for index, child in enumerate(held))
        elif isinstance(held, (dict, bool)):
            yield keyword, (), held


def with_subschemas(schema: dict[str, Any], change: Callable[[Any, JsonPath], Any]) -> dict[str, Any]:
    """A copy whose subschemas are what `change` makes of them; it gets each with its path from the schema."""
    fresh = dict(schema)
    for keyword, key, child in subschemas(schema):
        changed = change(child, (keyword, *key))
        if not key:
            fresh[keyword] = changed
            continue
        if fresh[keyword] is schema[keyword]:
            fresh[keyword] = schema[keyword].copy()
        fresh[keyword][key[0]] = changed
    return fresh


def pattern_is_usable(pattern: str) -> bool:
    """Whether the pattern can be matched here: not too long, well-formed, not too much when it is unfolded."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        return False
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=pattern_options())
    except jsonschema_rs.ValidationError:
        return False
    return True


def pattern_options() -> jsonschema_rs.FancyRegexOptions:
    """Linear time, and for patterns with look-around or back references a bounded number of steps: a value that would
    take more is refused. With little memory."""
    return jsonschema_rs.FancyRegexOptions(
        backtrack_limit=_PATTERN_STEPS, size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES
    )
