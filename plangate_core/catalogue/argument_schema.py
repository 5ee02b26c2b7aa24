"""The JSON Schema of an action's arguments: compiled once, used for every check.

Validation is by the Rust `jsonschema-rs`, for every draft from 4 to 2020-12. It fetches nothing (`offline`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs

from plangate_core.catalogue.defaults import MAX_DEFAULTS, Completion, TooManyDefaults, defaults, whole_numbers, without
from plangate_core.catalogue.finding import MESSAGE_LIMIT, Finding
from plangate_core.catalogue.json_pointer import pointer
from plangate_core.catalogue.schema_bounds import (
    JsonPath,
    SchemaGraph,
    SchemaRefused,
    pattern_options,
)
from plangate_core.catalogue.schema_findings import findings
from plangate_core.contract.limits import MAX_ARGS_DEPTH
from plangate_core.text.truncation import truncate

OPEN_KEYWORDS = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "if"),
        *("$ref", "$dynamicRef", "$recursiveRef"),
    }
)
"""Where one of these stands, the schema says itself what becomes of arguments that `properties` does not name."""
MAX_ERRORS = 20
_NEWEST_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = frozenset(
    {
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        _NEWEST_DRAFT,
    }
)
_MAX_FILLED_AT_LOAD = 20 * MAX_DEFAULTS
_MAX_ROUNDS = 4
_MOST_COPIED = 1_000_000

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
        graph = SchemaGraph(self._schema)
        if faults := [*graph.faults(), *_meta_faults(self._schema)]:
            raise SchemaRefused(*faults[0], more=faults[1:])
        self._weight = max(1, graph.checks_per_value() + len(json.dumps(self._schema, default=str)) // 100)
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
        except TooManyDefaults:
            raise SchemaRefused((), _TOO_MANY_DEFAULTS.message) from None
        if self.check({})[1][:1] == [_TOO_MANY_DEFAULTS]:
            raise SchemaRefused((), _TOO_MANY_DEFAULTS.message)

    @property
    def schema(self) -> Mapping[str, Any]:
        """See the class."""
        return self._schema

    def _leave_out_unfit_defaults(self) -> None:
        # Inner ones first: what they fill in decides whether those around them fit.
        paths = sorted((path for path, _ in defaults(self._schema, ())), key=len, reverse=True)
        if not paths:
            return
        filling = Completion(self._schema, _MAX_FILLED_AT_LOAD)
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
        self, path: JsonPath, validators: jsonschema_rs.ValidatorMap, filling: Completion
    ) -> UnfitDefault | None:
        """What is wrong with the default of the subschema at the path, which is then left out; None when nothing is."""
        validator = validators.get(pointer(path))
        if validator is None:
            return None
        subschema: Any = self._schema
        for part in path:
            subschema = subschema[part]
        default = filling.complete(whole_numbers(subschema["default"]), subschema)
        error = _first_error(validator, default)
        if error is None:
            return None
        self._schema = filling.root = without(self._schema, (*path, "default"))
        return UnfitDefault((*path, "default"), truncate(error.message, MESSAGE_LIMIT))

    def check(self, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """The arguments with whole numbers as integers and defaults filled in, and what is wrong with them.

        The arguments given are left as they are. Errors are at most MAX_ERRORS, in a fixed order.
        """
        if deeper_than(args, MAX_ARGS_DEPTH):
            return dict(args), [Finding("", "too_deep", f"nested deeper than {MAX_ARGS_DEPTH}")]
        try:
            complete = Completion(self._schema).complete(whole_numbers(dict(args)), self._schema)
        except TooManyDefaults:
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
            return [] if first is None else list(findings(first))[:MAX_ERRORS]
        errors = islice(self._validator.iter_errors(complete), MAX_ERRORS)
        return [found for error in errors for found in findings(error)][:MAX_ERRORS]


@lru_cache
def _meta_validator(uri: str) -> jsonschema_rs.Validator:
    draft = jsonschema_rs.validator_cls_for({"$schema": uri})
    return draft({"$ref": uri}, offline=True)


def _meta_faults(schema: dict[str, Any]) -> list[tuple[JsonPath, str]]:
    """Where the schema is not what its draft says a schema is. A draft that is not known is refused elsewhere."""
    uri = schema.get("$schema", _NEWEST_DRAFT)
    if uri not in _DRAFTS:
        return []
    validator = _meta_validator(uri)
    if validator.is_valid(schema):
        return []
    faults: list[tuple[JsonPath, str]] = []
    for error in islice(validator.iter_errors(schema), MAX_ERRORS):
        for found in findings(error):
            faults.append((tuple(error.instance_path), f"not a JSON Schema: {found.message}"))
    return faults


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


def named_types(schema: Any) -> frozenset[str]:
    """The types that a schema itself names, without null; empty where it names none."""
    named = schema.get("type") if isinstance(schema, Mapping) else None
    listed = named if isinstance(named, list) else [named]
    return frozenset(kind for kind in listed if isinstance(kind, str)) - {"null"}


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with undeclared arguments refused at the top, unless it says itself what becomes of them.

    JSON Schema lets unknown names pass; a reviewer would then agree to arguments without a description.
    """
    if OPEN_KEYWORDS & parameters.keys():
        return dict(parameters)
    return {**parameters, "additionalProperties": False}


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
