"""An action's JSON Schema, reduced to what grammar-constrained decoding enforces.

Providers turn the schema of a reply into a grammar. What they do with the rest of JSON Schema differs: llama.cpp
refuses the whole request for an unanchored pattern, never ends on an open object, ignores the siblings of `anyOf`
and silently drops `not` and `if`; others reject unknown keywords. So references are put in place, `allOf` is merged,
`oneOf` becomes `anyOf`, and what no grammar can say is left out. The result accepts everything the original accepts,
but for undeclared extra properties; the original is checked afterwards in any case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from plangate_core.catalogue.json_pointer import resolve

Schema = Mapping[str, Any]

_MAX_DEPTH = 8
_MAX_SUBSCHEMAS = 400
_MAX_BRANCHES = 16
# llama.cpp unrolls repetitions into rules; long ones make it slow and beyond 2,000 it refuses.
_MAX_REPETITIONS = 256
_ANYTHING = ("string", "number", "boolean", "array", "object", "null")
_TYPES = (*_ANYTHING, "integer")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_KEYWORDS_OF = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties"),
    "boolean": (),
    "null": (),
}
_FORMATS = frozenset({"date", "time", "date-time", "uuid"})
# Anchored, made of literals, plain classes, groups, alternatives and bounded repetitions.
_PLAIN_PATTERN = re.compile(
    r"\^(?:[A-Za-z0-9_ :/@#%=,~!;&<>\"'-]|\\[.\-/+*?()\[\]{}|^$\\]|\\[dw]|\[(?:[A-Za-z0-9_ .:/@#%=,+*-]|\\[.\-/d])+\]"
    r"|\((?:\?:)?|\)|\||[*+?]|\{\d{1,3}(?:,\d{0,3})?\})*\$"
)
# `(?=` and its kind, quantifiers of quantifiers, nothing to repeat, and a digit class within a class.
_NOT_PLAIN = re.compile(r"\((?!\?:)[*+?{]|(?<!\\)[*+?}][*+?{]|[\^|(][*+?{](?!:)|\[[^\]]*\\d")


def grammar_schema(parameters: Schema) -> dict[str, Any]:
    """The arguments' schema as a grammar can enforce it. Deterministic; the schema given is left as it is."""
    reduced = _Reduction(parameters).reduce(parameters, 0, ())
    if reduced.get("type") == "object" or "anyOf" in reduced:
        return reduced
    return {"type": "object"}


class _Reduction:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = _MAX_SUBSCHEMAS

    def reduce(self, schema: Any, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
        self._left -= 1
        if not isinstance(schema, Mapping) or self._left < 0:
            return _bare({})
        flat, references = flattened(self._root, schema, references)
        if depth > _MAX_DEPTH:
            return _bare(flat)
        if "const" in flat:
            return {"const": flat["const"]}
        if values := _enumerated(flat):
            return {"enum": values}
        branches = flat.get("anyOf") or flat.get("oneOf")
        if isinstance(branches, list) and branches:
            base = {key: value for key, value in flat.items() if key not in ("anyOf", "oneOf")}
            return _one_of(
                [self.reduce(merged([base, branch]), depth + 1, references) for branch in branches][:_MAX_BRANCHES]
            )
        return _one_of([self._typed(kind, flat, depth, references) for kind in _kinds(flat)])

    def _typed(self, kind: str, schema: Schema, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
        if kind == "object":
            return self._object(schema, depth, references)
        if kind == "array":
            return self._array(schema, depth, references)
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return _number(kind, schema)
        return {"type": kind}

    def _object(self, schema: Schema, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
        declared = schema.get("properties")
        properties: dict[str, Any] = {}
        if isinstance(declared, Mapping):
            for name, subschema in declared.items():
                if subschema is not False:
                    properties[name] = self.reduce(subschema, depth + 1, references)
        listed = schema.get("required")
        required = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        rest = schema.get("additionalProperties")
        for name in required:
            if name not in properties:
                properties[name] = self.reduce(rest if isinstance(rest, Mapping) else {}, depth + 1, references)
        reduced: dict[str, Any] = {"type": "object"}
        if properties:
            reduced["properties"] = properties
            # In the order of the properties: that is the order in which a grammar makes the model write them.
            needed = set(required)
            reduced["required"] = [name for name in properties if name in needed]
        if isinstance(rest, Mapping) and rest:
            reduced["additionalProperties"] = self.reduce(rest, depth + 1, references)
        elif properties or rest is False:
            reduced.setdefault("properties", {})
            reduced["additionalProperties"] = False
        return reduced

    def _array(self, schema: Schema, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
        reduced: dict[str, Any] = {"type": "array"}
        items, places = schema.get("items"), schema.get("prefixItems")
        if isinstance(items, list):  # until 2019-09 a list of schemas meant what prefixItems means now
            places = items
        if isinstance(places, list) and places:
            # A grammar can only say "exactly these": fewer, more, and the rest are left to the check.
            reduced["prefixItems"] = [self.reduce(place, depth + 1, references) for place in places]
            return reduced
        limits = {
            keyword: int(schema[keyword])
            for keyword in ("minItems", "maxItems")
            if _is_count(schema.get(keyword)) and schema[keyword] <= _MAX_REPETITIONS
        }
        if items is not None or limits:  # llama.cpp heeds limits only where items are described
            reduced["items"] = self.reduce(items, depth + 1, references)
        return {**reduced, **limits}


def flattened(root: Schema, schema: Schema, references: tuple[str, ...] = ()) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema with its own `$ref` and `allOf` merged in; what stands beside them counts before it.

    :param root: the document that references are looked up in
    :param references: those followed on the way here: one that leads back is cut. Those followed now are added to them.
    """
    parts = [{key: value for key, value in schema.items() if key not in (*_REFERENCES, "allOf")}]
    reference = next((schema[key] for key in _REFERENCES if key in schema), None)
    inside: list[Any] = []
    if isinstance(reference, str):
        if reference not in references:
            inside.append(_resolved(root, reference))
        references = (*references, reference)
    branches = schema.get("allOf")
    for each in [*inside, *(branches if isinstance(branches, list) else [])]:
        if isinstance(each, Mapping):
            flat, references = flattened(root, each, references)
            parts.append(flat)
    return merged(parts), references


def _resolved(root: Schema, reference: str) -> Any:
    if reference == "#" or reference.startswith("#/"):
        return resolve(root, reference)
    return _anchored(root, reference[1:])


def merged(parts: Sequence[Any]) -> dict[str, Any]:
    """One schema that says what all of them say, as far as a grammar can say it."""
    both: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Mapping):
            for keyword, value in part.items():
                both[keyword] = _both(keyword, both[keyword], value) if keyword in both else value
    return both


def _both(keyword: str, one: Any, other: Any) -> Any:
    """What one keyword's values in two schemas say together; the first where a grammar cannot say it."""
    if keyword == "type":
        return _common_types(one, other)
    if keyword == "properties" and isinstance(one, Mapping) and isinstance(other, Mapping):
        shared = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
        return {**one, **other, **shared}
    if keyword == "required" and isinstance(one, list) and isinstance(other, list):
        return [*one, *(name for name in other if name not in one)]
    if keyword == "enum" and isinstance(one, list) and isinstance(other, list):
        return [value for value in one if value in other] or one
    if _is_number(one) and _is_number(other):
        return (max if keyword.lower().startswith(("min", "exclusivemin")) else min)(one, other)
    return one


def _anchored(schema: Any, anchor: str) -> Any:
    """The subschema of that `$anchor`, None when there is none."""
    if isinstance(schema, Mapping):
        if anchor in (schema.get("$anchor"), schema.get("$dynamicAnchor")):
            return schema
        children: Any = schema.values()
    elif isinstance(schema, list):
        children = schema
    else:
        return None
    return next((found for child in children if (found := _anchored(child, anchor)) is not None), None)


def _bare(schema: Schema) -> dict[str, Any]:
    return _one_of([{"type": kind} for kind in _kinds(schema)])


def _one_of(branches: list[dict[str, Any]]) -> dict[str, Any]:
    distinct: list[dict[str, Any]] = []
    for branch in branches:
        for one in branch["anyOf"] if branch.keys() == {"anyOf"} else [branch]:
            if one not in distinct:
                distinct.append(one)
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _kinds(schema: Schema) -> list[str]:
    """The types a value may have: as declared, else as the keywords suggest, else any."""
    declared = schema.get("type")
    named = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []
    if kinds := [kind for kind in named if kind in _TYPES]:
        return kinds
    suggested = [kind for kind in ("object", "array", "string", "number") if schema.keys() & set(_KEYWORDS_OF[kind])]
    return suggested[:1] or list(_ANYTHING)


def _enumerated(schema: Schema) -> list[Any]:
    """The values of `enum` that the type allows as well; all of them when that leaves none."""
    values = schema.get("enum")
    if not isinstance(values, list) or not values:
        return []
    if "type" not in schema:
        return values
    kinds = _kinds(schema)
    return [value for value in values if any(_is_of(value, kind) for kind in kinds)] or values


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, (int, float)):
        return kind == "number" or (kind == "integer" and float(value).is_integer())
    return {str: "string", list: "array", dict: "object", type(None): "null"}.get(type(value)) == kind


def _string(schema: Schema) -> dict[str, Any]:
    reduced: dict[str, Any] = {"type": "string"}
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(pattern) <= _MAX_REPETITIONS and _is_plain(pattern):
        return {**reduced, "pattern": pattern.replace(r"\d", "[0-9]").replace(r"\w", "[A-Za-z0-9_]")}
    if schema.get("format") in _FORMATS:
        return {**reduced, "format": schema["format"]}
    for keyword in ("minLength", "maxLength"):
        if _is_count(schema.get(keyword)) and 0 < schema[keyword] <= _MAX_REPETITIONS:
            reduced[keyword] = int(schema[keyword])
    return reduced


def _is_plain(pattern: str) -> bool:
    if not _PLAIN_PATTERN.fullmatch(pattern) or _NOT_PLAIN.search(pattern):
        return False
    # `^a|b$` means "begins with a, or ends with b"; a grammar would read "a or b".
    depth = 0
    for part in re.findall(r"\\.|\[(?:\\.|[^\]])*\]|[()|]", pattern):
        depth += (part == "(") - (part == ")")
        if depth < 0 or (part == "|" and depth == 0):
            return False
    repeated = [int(number) for number in re.findall(r"(?:\{|,)(\d+)(?=[,}])", pattern)]
    return depth == 0 and all(number <= _MAX_REPETITIONS for number in repeated)


def _number(kind: str, schema: Schema) -> dict[str, Any]:
    """Bounds as integers where the type is one; an exclusive bound of an integer becomes the next one."""
    reduced: dict[str, Any] = {"type": kind}
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is True:  # draft 4
        low, above = None, low
    if below is True:
        high, below = None, high
    if kind == "number":
        pairs = zip(_NUMERIC, (low, high, above, below), strict=True)
        return {**reduced, **{keyword: bound for keyword, bound in pairs if _is_number(bound)}}
    lows = [math.ceil(bound) for bound in (low,) if _is_number(bound)]
    lows += [math.floor(bound) + 1 for bound in (above,) if _is_number(bound)]
    highs = [math.floor(bound) for bound in (high,) if _is_number(bound)]
    highs += [math.ceil(bound) - 1 for bound in (below,) if _is_number(bound)]
    if lows and highs and max(lows) > min(highs):
        return reduced
    limits = {"minimum": max(lows, default=None), "maximum": min(highs, default=None)}
    # llama.cpp reads bounds as 64-bit numbers and unrolls their digits.
    return {**reduced, **{key: bound for key, bound in limits.items() if bound is not None and abs(bound) < 2**53}}


def _common_types(one: Any, other: Any) -> Any:
    left = one if isinstance(one, list) else [one]
    right = other if isinstance(other, list) else [other]
    common = [kind for kind in left if kind in right or (kind == "integer" and "number" in right)]
    common += [kind for kind in right if kind == "integer" and "number" in left and kind not in common]
    return common or one


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()
