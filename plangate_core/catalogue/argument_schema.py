"""The JSON Schema of an action's arguments: compiled once, used for every check.

Validation is by the Rust `jsonschema-rs`, for every draft from 4 to 2020-12. It fetches nothing (`offline`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jsonschema_rs

from plangate_core.catalogue.finding import MESSAGE_LIMIT, Finding, dotted
from plangate_core.catalogue.json_pointer import pointer, resolve
from plangate_core.catalogue.schema_bounds import (
    JsonPath,
    SchemaGraph,
    SchemaRefused,
    pattern_options,
    subschemas,
)
from plangate_core.contract.limits import INEXACT_FROM, MAX_ARGS_DEPTH
from plangate_core.text.truncation import truncate

OPEN_KEYWORDS = frozenset(
    {
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
)
"""Where one of these stands, the schema says itself what becomes of arguments that `properties` does not name."""
MAX_DEFAULTS = 1_000
MAX_ERRORS = 20
_MAX_FILLED_AT_LOAD = 20 * MAX_DEFAULTS
_MAX_ROUNDS = 4
_MOST_COPIED = 1_000_000

COERCE_KEYWORD = "x-coerce"


_TOO_MANY_DEFAULTS = Finding(
    "", "too_many_defaults", f"more than {MAX_DEFAULTS} defaults would be filled in, or nested too deep"
)


@dataclass(frozen=True, slots=True)
class UnfitDefault:
    """A default that its own schema refuses. `path` leads to it."""

    path: JsonPath
    message: str


class ArgumentSchema:
    """A compiled schema. Immutable, safe to share. Raises SchemaRefused when the schema is wrong or hostile.

    schema: as it is enforced, without the unfit defaults: JSON Schema calls a default a note, so that a schema with one
    that does not fit is no wrong schema; but filled in it would make every call without the argument fail.
    unfit_defaults: what was left out of it.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = dict(schema)
        checks_per_value = SchemaGraph(self._schema).check()
        self._weight = max(1, checks_per_value + len(json.dumps(self._schema, default=str)) // 100)
        try:
            self._validator = jsonschema_rs.validator_for(
                self._schema,
                offline=True,
                validate_formats=True,
                # Messages end up in reports and logs, where the arguments themselves may have been redacted.
                mask="this value",
                pattern_options=pattern_options(),
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaRefused(
                tuple(error.instance_path), f"not a JSON Schema: {truncate(error.message, MESSAGE_LIMIT)}"
            ) from None
        self.unfit_defaults: tuple[UnfitDefault, ...] = ()
        try:
            self._leave_out_unfit_defaults()
        except _TooManyDefaults:
            raise SchemaRefused((), _TOO_MANY_DEFAULTS.message) from None
        if self.check({})[1][:1] == [_TOO_MANY_DEFAULTS]:
            raise SchemaRefused((), _TOO_MANY_DEFAULTS.message)

    @property
    def schema(self) -> Mapping[str, Any]:
        """See the class."""
        return self._schema

    def _leave_out_unfit_defaults(self) -> None:
        # Inner ones first: what they fill in decides whether those around them fit.
        paths = sorted((path for path, _ in _defaults(self._schema, ())), key=len, reverse=True)
        if not paths:
            return
        filling = _Completion(self._schema, _MAX_FILLED_AT_LOAD)
        validators = jsonschema_rs.validator_map_for(
            self._schema, offline=True, validate_formats=True, mask="the default", pattern_options=pattern_options()
        )
        for _ in range(_MAX_ROUNDS):
            unfit = [found for path in paths if (found := self._unfit_default(path, validators, filling)) is not None]
            if not unfit:
                return
            # Without those, others may lack what they require.
            self.unfit_defaults += tuple(unfit)
            paths = [path for path in paths if (*path, "default") not in {found.path for found in unfit}]
        raise SchemaRefused((), "its defaults need one another in too long a chain")

    def _unfit_default(
        self, path: JsonPath, validators: jsonschema_rs.ValidatorMap, filling: _Completion
    ) -> UnfitDefault | None:
        """What is wrong with the default of the subschema at the path, which is then left out; None when nothing is."""
        validator = validators.get(pointer(path))
        if validator is None:
            return None
        subschema: Any = self._schema
        for part in path:
            subschema = subschema[part]
        default = filling.complete(_whole_numbers(subschema["default"]), subschema)
        error = _first_error(validator, default)
        if error is None:
            return None
        self._schema = filling.root = _without(self._schema, (*path, "default"))
        return UnfitDefault((*path, "default"), truncate(error.message, MESSAGE_LIMIT))

    def check(self, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """The arguments with whole numbers as integers and defaults filled in, and what is wrong with them.

        The arguments given are left as they are. Errors are at most MAX_ERRORS, in a fixed order.
        """
        if deeper_than(args, MAX_ARGS_DEPTH):
            return dict(args), [Finding("", "too_deep", f"nested deeper than {MAX_ARGS_DEPTH}")]
        try:
            complete = _Completion(self._schema).complete(_whole_numbers(dict(args)), self._schema)
        except _TooManyDefaults:
            return dict(args), [_TOO_MANY_DEFAULTS]
        return complete, self.findings(complete)

    def findings(self, args: Mapping[str, Any]) -> list[Finding]:
        """What is wrong with arguments as they are: nothing is filled in. At most MAX_ERRORS, in a fixed order."""
        complete = dict(args)
        # Most are right, which is quickly known.
        if self._validator.is_valid(complete):
            return []
        # All errors are made before the first can be had, each with a copy of the value that is wrong and of what was
        # wanted: of ten thousand values in ten thousand ways that took gigabytes and minutes.
        limit = math.isqrt(_MOST_COPIED // self._weight)
        if more_values_than(limit, complete):
            first = _first_error(self._validator, complete)
            return [] if first is None else [_attempt_error(first)]
        return [_attempt_error(error) for error in islice(self._validator.iter_errors(complete), MAX_ERRORS)]


def _first_error(validator: jsonschema_rs.Validator, value: Any) -> jsonschema_rs.ValidationError | None:
    """What is wrong first, if anything is: quick also where much is."""
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    return None


def more_values_than(limit: int, value: Any) -> bool:
    """Whether there are more than so many values in this one, itself and names of members included."""
    left, waiting = limit, [value]
    while waiting:
        left -= 1
        if left < 0:
            return True
        value = waiting.pop()
        if isinstance(value, Mapping):
            left -= len(value)
            waiting.extend(value.values() if left >= 0 else ())
        elif isinstance(value, list):
            if len(value) > left:
                return True
            waiting.extend(value)
    return left < 0


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with undeclared arguments refused at the top, unless it says itself what becomes of them.

    JSON Schema lets unknown names pass; a reviewer would then agree to arguments that nobody described.
    """
    if OPEN_KEYWORDS & parameters.keys():
        return dict(parameters)
    return {**parameters, "additionalProperties": False}


_NOTHING = object()


class _TooManyDefaults(Exception):
    pass


class _Completion:
    """Fills defaults in and converts, along `properties`, `items`, `allOf` and `$ref` only.

    Not along `anyOf`, `oneOf` or `if`: which branch holds is only known once the value is complete.
    """

    def __init__(self, root: dict[str, Any], limit: int = MAX_DEFAULTS) -> None:
        self.root = root
        self._left = limit

    def complete(self, value: Any, schema: dict[str, Any]) -> Any:
        """The value, a fresh one, completed in place as the schema within the root says. Raises _TooManyDefaults."""
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
                        raise _TooManyDefaults
                    value[name] = _whole_numbers(default)
                if name in value:
                    value[name] = self._completed(value[name], subschema, depth + 1)
        elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
            value = [self._completed(item, items, depth + 1) for item in value]
        return value


def _without(schema: Any, path: JsonPath) -> Any:
    """A copy without what is at the path."""
    key, *rest = path
    if isinstance(schema, list):
        return [_without(item, tuple(rest)) if index == key else item for index, item in enumerate(schema)]
    if not rest:
        return {name: value for name, value in schema.items() if name != key}
    return {name: _without(value, tuple(rest)) if name == key else value for name, value in schema.items()}


def _defaults(schema: Any, path: JsonPath) -> Iterator[tuple[JsonPath, Any]]:
    if not isinstance(schema, dict):
        return
    if path and schema.get("default") is not None:
        yield path, schema["default"]
    for keyword, key, child in subschemas(schema):
        yield from _defaults(child, (*path, keyword, *key))


def _attempt_error(error: jsonschema_rs.ValidationError) -> Finding:
    path = list(error.instance_path)
    kind = error.kind.name
    message = error.message
    if kind == "required":
        # Point at what is missing, as pydantic does: that is what the model or the person must add.
        missing = getattr(error.kind, "property", None)
        if isinstance(missing, str):
            path.append(missing)
            kind, message = "missing", "Field required"
    return Finding(dotted(path), kind, truncate(message, MESSAGE_LIMIT))


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
    if isinstance(value, float) and value.is_integer() and abs(value) <= INEXACT_FROM:
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
