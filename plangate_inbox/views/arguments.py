"""Arguments of a proposal beside what the action's JSON Schema says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plangate_core.catalogue.json_pointer import resolve
from plangate_core.contract.struct_codec import JsonValue

UNIT_KEYWORD = "x-unit"
_MAX_REFERENCES = 8


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument as a reviewer sees it. `path` is "action_args.NAME", as changes name it."""

    name: str
    title: str
    description: str
    value: str
    is_block: bool
    """The value is more than one line of text, or a list or an object as JSON."""
    choices: tuple[tuple[str, bool], ...]
    """The values that the schema allows, each with whether it is the chosen one."""
    unit: str
    limits: str
    assumed: bool
    """The request did not name it: a default filled it."""
    entries: int
    """Of a list: how many it has. 0 for all else."""
    declared: bool
    """The action's schema knows it. True also when there is no schema at hand."""


def arguments(
    args: Mapping[str, JsonValue], schema: Mapping[str, Any] | None, assumed: frozenset[str]
) -> list[Argument]:
    """Required ones first, in the schema's order, and long values last: what is short must be seen at once.

    (On the wire properties have no order, required names have.) `schema` is None when the action cannot be looked up.
    """
    properties = _properties(schema) if schema is not None else {}
    required = schema.get("required") if schema is not None else None
    place = {name: number for number, name in enumerate(required if isinstance(required, list) else ())}
    names = sorted(args, key=lambda name: (name not in properties, place.get(name, len(place)), name))
    found = [
        _argument(name, args[name], properties.get(name, {}), assumed, declared=schema is None or name in properties)
        for name in names
    ]
    return sorted(found, key=lambda argument: len(argument.value) if argument.is_block else 0)


def value_text(value: JsonValue) -> str:
    """A value as text: strings as they are, everything else as JSON. A list of single values takes few lines."""
    if isinstance(value, str):
        return value
    nested = (
        any(isinstance(each, dict | list) for each in value) if isinstance(value, list) else isinstance(value, dict)
    )
    indent = 2 if nested and value else None
    return json.dumps(value, ensure_ascii=False, indent=indent)


def resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with a local $ref followed; keywords beside the $ref stay. Empty when it cannot be followed."""
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target = resolve(root, reference)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **beside} if isinstance(target, Mapping) else beside
    return {}


def text_of(schema: Mapping[str, Any], keyword: str) -> str:
    """What the schema says under a keyword; empty when that is no text."""
    text = schema.get(keyword)
    return text if isinstance(text, str) else ""


def _properties(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): resolved(each, schema) for name, each in properties.items()}


def _argument(
    name: str, value: JsonValue, schema: Mapping[str, Any], assumed: frozenset[str], *, declared: bool
) -> Argument:
    text = value_text(value)
    allowed = schema.get("enum")
    choices = allowed if isinstance(allowed, list) and len(allowed) <= 20 else []
    return Argument(
        name=name,
        title=text_of(schema, "title") or name.replace("_", " "),
        description=text_of(schema, "description"),
        value=text,
        is_block="\n" in text or len(text) > 80 or isinstance(value, dict | list),
        choices=tuple((value_text(choice), _equal(choice, value)) for choice in choices),
        unit=text_of(schema, UNIT_KEYWORD),
        limits=_limits(schema),
        assumed=any(path == name or path.startswith(f"{name}.") for path in assumed),
        entries=len(value) if isinstance(value, list) else 0,
        declared=declared,
    )


def _limits(schema: Mapping[str, Any]) -> str:
    least, most = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    least_word = "more than " if "minimum" not in schema and "exclusiveMinimum" in schema else ""
    most_word = "less than " if "maximum" not in schema and "exclusiveMaximum" in schema else ""
    if least is not None and most is not None:
        return f"{least_word}{value_text(_whole(least))} to {most_word}{value_text(_whole(most))}"
    if least is not None:
        return f"{least_word or 'at least '}{value_text(_whole(least))}"
    if most is not None:
        return f"{most_word or 'at most '}{value_text(_whole(most))}"
    return ""


def _whole(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _equal(left: JsonValue, right: JsonValue) -> bool:
    # Not by ==: to Python 1 and true are equal.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
