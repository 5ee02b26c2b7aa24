"""Defaults of a schema: found, left out, and filled into arguments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from plangate_core.catalogue.json_pointer import resolve
from plangate_core.catalogue.schema_bounds import JsonPath, subschemas
from plangate_core.contract.limits import INEXACT_FROM, MAX_ARGS_DEPTH

MAX_DEFAULTS = 1_000
COERCE_KEYWORD = "x-coerce"
_NOTHING = object()


class TooManyDefaults(Exception):
    """More defaults would be filled in than MAX_DEFAULTS, or nested deeper than arguments may be."""


class Completion:
    """Fills defaults in and converts, along `properties`, `items`, `allOf` and `$ref` only.

    Not along `anyOf`, `oneOf` or `if`: which branch holds is only known once the value is complete.
    """

    def __init__(self, root: dict[str, Any], limit: int = MAX_DEFAULTS) -> None:
        self.root = root
        self._left = limit

    def complete(self, value: Any, schema: dict[str, Any]) -> Any:
        """The value, a fresh one, completed in place as the schema within the root says. Raises TooManyDefaults."""
        return self._completed(value, schema, 0)

    def _default_of(self, schema: Any) -> Any:
        """The default of a property, its own or that of what it refers to."""
        # Ends: references that lead back to themselves were refused.
        while isinstance(schema, dict):
            # `default: null` is how many generated schemas say that there is none.
            if schema.get("default") is not None:
                return schema["default"]
            schema = resolve(self.root, schema["$ref"]) if "$ref" in schema else None
        return _NOTHING

    def _completed(self, value: Any, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return value
        if isinstance(reference := schema.get("$ref"), str):
            value = self._completed(value, resolve(self.root, reference), depth)
        for branch in schema.get("allOf", ()):
            value = self._completed(value, branch, depth)
        if schema.get(COERCE_KEYWORD) is True and isinstance(value, str):
            value = _coerced(value, schema.get("type"))
        if isinstance(value, dict):
            for name, subschema in schema.get("properties", {}).items():
                if name not in value and (default := self._default_of(subschema)) is not _NOTHING:
                    self._left -= 1
                    # A recursive schema whose defaults hold further defaults would never come to an end.
                    if self._left < 0 or depth > MAX_ARGS_DEPTH:
                        raise TooManyDefaults
                    value[name] = whole_numbers(default)
                if name in value:
                    value[name] = self._completed(value[name], subschema, depth + 1)
        elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
            value = [self._completed(item, items, depth + 1) for item in value]
        return value


def without(schema: Any, path: JsonPath) -> Any:
    """A copy without what is at the path."""
    key, *rest = path
    if isinstance(schema, list):
        return [without(item, tuple(rest)) if index == key else item for index, item in enumerate(schema)]
    if not rest:
        return {name: value for name, value in schema.items() if name != key}
    return {name: without(value, tuple(rest)) if name == key else value for name, value in schema.items()}


def defaults(schema: Any, path: JsonPath) -> Iterator[tuple[JsonPath, Any]]:
    if not isinstance(schema, dict):
        return
    if path and schema.get("default") is not None:
        yield path, schema["default"]
    for keyword, key, child in subschemas(schema):
        yield from defaults(child, (*path, keyword, *key))


def whole_numbers(value: Any) -> Any:
    """A copy in which 3.0 is 3: a Struct has only doubles, and to JSON Schema a whole one is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= INEXACT_FROM:
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return value


def _coerced(text: str, kind: Any) -> Any:
    """The number or truth value that a text spells, where the schema asks for it; else the text as it was."""
    stripped = text.strip()
    if kind == "boolean" and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    if kind in ("integer", "number"):
        try:
            number = float(stripped)
        except ValueError:
            return text
        if math.isfinite(number) and (kind == "number" or number.is_integer()):
            return whole_numbers(number)
    return text
