"""The JSON Schema of an action's arguments: refused when hostile, then compiled once and used for every check.

Validation is by the Rust `jsonschema-rs`, for every draft from 4 to 2020-12. It fetches nothing (`offline`), and its
patterns run on an engine whose time is linear in the text (no look-around, no back references). What a schema could
still do is multiply: ten `$ref`s that each name the next one twice are a thousand checks of one value. So the checks
that one value can undergo are counted before a schema is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

import jsonschema_rs

from planner_service.attempt_error import MESSAGE_LIMIT, AttemptError, dotted

MAX_SUBSCHEMAS = 5_000
MAX_SCHEMA_DEPTH = 48
MAX_CHECKS_PER_VALUE = 20_000
MAX_PATTERN_LENGTH = 1_000
MAX_ARGUMENT_DEPTH = 32
MAX_DEFAULTS = 1_000
MAX_ERRORS = 20
# What one compiled pattern may take, in bytes: the engine refuses a pattern that unfolds to more.
_PATTERN_BYTES = 1 << 20

JsonPath = tuple[str | int, ...]

# Keywords by what they hold and to what it is applied: the value itself, or the values inside it.
_IN_PLACE = ("not", "if", "then", "else", "dependentSchemas", "dependencies", "allOf", "anyOf", "oneOf")
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

COERCE_KEYWORD = "x-coerce"


_TOO_MANY_DEFAULTS = AttemptError(
    "", "too_many_defaults", f"more than {MAX_DEFAULTS} defaults would be filled in, or nested too deep"
)


class SchemaRefused(Exception):
    """The schema cannot be used. `path` leads from its root to the fault."""

    def __init__(self, path: JsonPath, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


class ArgumentSchema:
    """A compiled schema. Immutable, safe to share. Raises SchemaRefused when the schema is wrong or hostile."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = dict(schema)
        _SchemaGraph(self._schema).check()
        try:
            self._validator = jsonschema_rs.validator_for(
                self._schema,
                offline=True,
                validate_formats=True,
                # Messages end up in reports and logs, where the arguments themselves may have been redacted.
                mask="this value",
                pattern_options=_pattern_options(),
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaRefused(tuple(error.instance_path), f"not a JSON Schema: {_clip(error.message)}") from None
        self._check_defaults()

    def _check_defaults(self) -> None:
        """A default that its own schema refuses would make every call without the argument fail."""
        if self.check({})[1][:1] == [_TOO_MANY_DEFAULTS]:
            raise SchemaRefused((), _TOO_MANY_DEFAULTS.message)
        defaults = list(_defaults(self._schema, ()))
        if not defaults:
            return
        validators = jsonschema_rs.validator_map_for(
            self._schema, offline=True, validate_formats=True, mask="the default", pattern_options=_pattern_options()
        )
        for path, default in defaults:
            pointer = "#" + "".join("/" + quote(str(part).replace("~", "~0").replace("/", "~1")) for part in path)
            validator = validators.get(pointer)
            if validator is None:
                continue
            for error in validator.iter_errors(default):
                raise SchemaRefused((*path, "default"), _clip(error.message))

    def check(self, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[AttemptError]]:
        """The arguments with whole numbers as integers and defaults filled in, and what is wrong with them.

        The arguments given are left as they are. Errors are at most MAX_ERRORS, in a fixed order.
        """
        if deeper_than(args, MAX_ARGUMENT_DEPTH):
            return dict(args), [AttemptError("", "too_deep", f"nested deeper than {MAX_ARGUMENT_DEPTH}")]
        try:
            complete = _Completion(self._schema).complete(_whole_numbers(dict(args)))
        except _TooManyDefaults:
            return dict(args), [_TOO_MANY_DEFAULTS]
        errors = []
        for error in self._validator.iter_errors(complete):
            errors.append(_attempt_error(error))
            if len(errors) == MAX_ERRORS:
                break
        return complete, errors


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with undeclared arguments refused at the top, unless it says itself what becomes of them.

    JSON Schema lets unknown names pass; a reviewer would then agree to arguments that nobody described.
    """
    speaks_for_itself = {
        "additionalProperties",
        "unevaluatedProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "$ref",
        "$dynamicRef",
        "$recursiveRef",
    }
    if speaks_for_itself & parameters.keys():
        return dict(parameters)
    return {**parameters, "additionalProperties": False}


class _TooManyDefaults(Exception):
    pass


class _Completion:
    """Fills defaults in and converts, along `properties`, `items`, `allOf` and `$ref` only.

    Not along `anyOf`, `oneOf` or `if`: which branch holds is only known once the value is complete.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._filled = 0

    def complete(self, args: dict[str, Any]) -> dict[str, Any]:
        completed: dict[str, Any] = self._completed(args, self._root, 0)
        return completed

    def _completed(self, value: Any, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return value
        if isinstance(reference := schema.get("$ref"), str):
            value = self._completed(value, _resolve(self._root, reference), depth)
        for branch in schema.get("allOf", ()):
            value = self._completed(value, branch, depth)
        if schema.get(COERCE_KEYWORD) is True and isinstance(value, str):
            value = _coerced(value, schema.get("type"))
        if isinstance(value, dict):
            for name, subschema in schema.get("properties", {}).items():
                if name not in value and isinstance(subschema, dict) and "default" in subschema:
                    self._filled += 1
                    # A recursive schema whose defaults hold further defaults would never come to an end.
                    if self._filled > MAX_DEFAULTS or depth > MAX_ARGUMENT_DEPTH:
                        raise _TooManyDefaults
                    value[name] = _whole_numbers(subschema["default"])
                if name in value:
                    value[name] = self._completed(value[name], subschema, depth + 1)
        elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
            value = [self._completed(item, items, depth + 1) for item in value]
        return value


class _SchemaGraph:
    """The subschemas of one document and who applies whom."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._count = 0
        self._checks: dict[tuple[int, int], int] = {}
        self._anchors: dict[str, list[dict[str, Any]]] = {}

    def check(self) -> None:
        self._walk(self._root, (), 0)
        self._check_references(self._root, (), 0)
        if self._weigh(self._root, MAX_ARGUMENT_DEPTH, frozenset()) > MAX_CHECKS_PER_VALUE:
            raise SchemaRefused(
                (),
                f"references and alternatives multiply: one value could be checked over {MAX_CHECKS_PER_VALUE} times",
            )

    def _walk(self, schema: Any, path: JsonPath, depth: int) -> None:
        self._count += 1
        if self._count > MAX_SUBSCHEMAS:
            raise SchemaRefused(path, f"more than {MAX_SUBSCHEMAS} subschemas")
        if depth > MAX_SCHEMA_DEPTH:
            raise SchemaRefused(path, f"subschemas nested deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise SchemaRefused(path, "a schema must be a mapping, true or false")
        if path and ("$id" in schema or isinstance(schema.get("id"), str)) and "$ref" not in schema:
            raise SchemaRefused((*path, "$id"), "$id is only allowed at the top: references stay inside the document")
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(keyword), str):
                self._anchors.setdefault(anchor, []).append(schema)
        self._check_patterns(schema, path)
        for keyword, key, child in _children(schema):
            self._walk(child, (*path, keyword, *key), depth + 1)

    def _check_patterns(self, schema: dict[str, Any], path: JsonPath) -> None:
        patterns = [("pattern", schema["pattern"])] if isinstance(schema.get("pattern"), str) else []
        if isinstance(by_pattern := schema.get("patternProperties"), dict):
            patterns += [("patternProperties", pattern) for pattern in by_pattern]
        for keyword, pattern in patterns:
            if len(pattern) > MAX_PATTERN_LENGTH:
                raise SchemaRefused((*path, keyword), f"a pattern is longer than {MAX_PATTERN_LENGTH} characters")
            try:
                jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=_pattern_options())
            except jsonschema_rs.ValidationError:
                raise SchemaRefused(
                    (*path, keyword),
                    f"the pattern {_clip(pattern, 80)!r} cannot be used: it is wrong, unfolds to too much, or needs "
                    "look-around or back references, whose time has no bound",
                ) from None

    def _check_references(self, schema: Any, path: JsonPath, depth: int) -> None:
        if not isinstance(schema, dict):
            return
        for keyword in _REFERENCES:
            if keyword in schema:
                self._targets(schema, keyword, path)
        for keyword, key, child in _children(schema):
            self._check_references(child, (*path, keyword, *key), depth + 1)

    def _targets(self, schema: dict[str, Any], keyword: str, path: JsonPath) -> list[Any]:
        reference = schema[keyword]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefused((*path, keyword), "a reference must stay inside the document: begin it with #")
        if reference == "#" or keyword == "$recursiveRef":
            return [self._root]
        if not reference.startswith("#/"):
            if found := self._anchors.get(reference[1:]):
                return list(found)
            raise SchemaRefused((*path, keyword), f"the document has no anchor {_clip(reference, 80)!r}")
        target = _resolve(self._root, reference)
        if not isinstance(target, (dict, bool)):
            raise SchemaRefused((*path, keyword), f"{_clip(reference, 80)!r} leads to no schema of the document")
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
        for keyword, _, child in _children(schema):
            if keyword == "properties":
                dearest = max(dearest, self._weigh(child, depth - 1, frozenset()))
            elif keyword in _IN_PLACE:
                total += self._weigh(child, depth, here)
            elif keyword in _INSIDE:
                # unevaluated* runs its neighbours a second time to learn what they looked at.
                factor = 2 if keyword.startswith("unevaluated") else 1
                total = total * factor + self._weigh(child, depth - 1, frozenset())
            total = min(total, MAX_CHECKS_PER_VALUE + 1)
        total = min(total + dearest, MAX_CHECKS_PER_VALUE + 1)
        self._checks[id(schema), depth] = total
        return total


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, JsonPath, Any]]:
    """Keyword, key under it, and subschema, for every subschema of one schema."""
    for keyword in ("properties", *_INSIDE, *_IN_PLACE, *_DEFINITIONS):
        held = schema.get(keyword)
        if keyword in _MAPS and isinstance(held, dict):
            # A `dependencies` entry may also be a list of names.
            yield from ((keyword, (name,), child) for name, child in held.items() if not isinstance(child, list))
        elif isinstance(held, list):
            yield from ((keyword, (index,), child) for index, child in enumerate(held))
        elif isinstance(held, (dict, bool)):
            yield keyword, (), held


def _defaults(schema: Any, path: JsonPath) -> Iterator[tuple[JsonPath, Any]]:
    if not isinstance(schema, dict):
        return
    if path and "default" in schema:
        yield path, schema["default"]
    for keyword, key, child in _children(schema):
        yield from _defaults(child, (*path, keyword, *key))


def _pattern_options() -> jsonschema_rs.RegexOptions:
    return jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES)


def _resolve(root: Any, reference: str) -> Any:
    """What a JSON pointer fragment names in the document; None when nothing is there."""
    target = root
    for raw in reference.removeprefix("#").split("/")[1:]:
        part = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and part in target:
            target = target[part]
        elif isinstance(target, list) and part.isdecimal() and int(part) < len(target):
            target = target[int(part)]
        else:
            return None
    return target


def _attempt_error(error: jsonschema_rs.ValidationError) -> AttemptError:
    path = list(error.instance_path)
    kind = error.kind.name
    message = error.message
    if kind == "required":
        # Point at what is missing, as pydantic does: that is what the model or the person must add.
        missing = getattr(error.kind, "property", None)
        if isinstance(missing, str):
            path.append(missing)
            kind, message = "missing", "Field required"
    return AttemptError(dotted(path), kind, _clip(message))


def _clip(text: str, limit: int = MESSAGE_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def deeper_than(value: Any, limit: int) -> bool:
    """Whether objects and lists are nested deeper than so many levels, counting the outermost."""
    level = [value] if isinstance(value, (Mapping, list)) else []
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, Mapping) else parent)
            if isinstance(child, (Mapping, list))
        ]
        if not level:
            return False
    return True


def _whole_numbers(value: Any) -> Any:
    """A copy in which 3.0 is 3: a Struct has only doubles, and to JSON Schema a whole one is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
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
            return _whole_numbers(number)
    return text
