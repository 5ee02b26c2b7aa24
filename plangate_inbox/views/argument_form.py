"""A form for the arguments of an action, and the arguments from a form that was filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plangate_core.contract.struct_codec import JsonValue
from plangate_core.text.printable import visible
from plangate_inbox.views.arguments import UNIT_KEYWORD, resolved, text_of, value_text

JSON_FIELD = "args_json"
_PREFIX = "arg."
_KINDS = {"string": "text", "integer": "number", "number": "number", "boolean": "boolean"}


class FieldWrong(ValueError):
    """What was entered cannot be read; the message names the field."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One argument to enter. `kind` is text, long, number, boolean or choice."""

    name: str
    label: str
    kind: str
    value: str
    choices: tuple[str, ...]
    required: bool
    hint: str
    unit: str

    @property
    def key(self) -> str:
        """Its name in the form."""
        return f"{_PREFIX}{self.name}"


def form_fields(args: Mapping[str, JsonValue], schema: Mapping[str, Any] | None) -> list[FormField] | None:
    """A field for each argument; None when they are better edited as JSON.

    That is: without a schema, with nested or undeclared arguments, and where a value holds characters that a field
    would not show as themselves.
    """
    properties = schema.get("properties") if schema is not None else None
    if schema is None or not isinstance(properties, Mapping) or args.keys() - properties.keys():
        return None
    required = schema.get("required")
    fields: list[FormField] = []
    for name, declared in properties.items():
        field = _field(
            name, args.get(name), resolved(declared, schema), isinstance(required, list) and name in required
        )
        if field is None:
            return None
        fields.append(field)
    return fields


def json_text(args: Mapping[str, JsonValue]) -> str:
    """The arguments as JSON to be edited: every character outside ASCII as an escape, so that none hides."""
    return json.dumps(args, indent=2, ensure_ascii=True)


def arguments_from(form: Mapping[str, str], fields: list[FormField] | None) -> dict[str, JsonValue]:
    """What was entered. An empty field that is not required is left out. Raises FieldWrong."""
    if fields is None or JSON_FIELD in form:
        try:
            args = json.loads(form.get(JSON_FIELD, ""))
        except (ValueError, RecursionError):
            raise FieldWrong("The arguments are not JSON.") from None
        if not isinstance(args, dict):
            raise FieldWrong("The arguments must be a JSON object.")
        return args
    found: dict[str, JsonValue] = {}
    for field in fields:
        text = form.get(field.key, "").replace("\r\n", "\n")
        if text or field.required:
            found[field.name] = _value(field, text)
    return found


def _field(name: str, value: JsonValue, schema: Mapping[str, Any], required: bool) -> FormField | None:
    allowed = schema.get("enum")
    kind = _KINDS.get(str(schema.get("type")), "")
    choices: tuple[str, ...] = ()
    if isinstance(allowed, list) and allowed and all(isinstance(choice, str) for choice in allowed):
        kind, choices = "choice", tuple(allowed)
    if not kind or not isinstance(value, str | int | float | bool | None):
        return None
    text = "" if value is None else value_text(value)
    if visible(text, newlines=True) != text or any(visible(choice) != choice for choice in choices):
        return None
    if kind == "text" and ("\n" in text or len(text) > 80):
        kind = "long"
    return FormField(
        name=name,
        label=text_of(schema, "title") or name.replace("_", " "),
        kind=kind,
        value=text,
        choices=choices,
        required=required,
        hint=text_of(schema, "description"),
        unit=text_of(schema, UNIT_KEYWORD),
    )


def _value(field: FormField, text: str) -> JsonValue:
    if field.kind == "boolean":
        if text not in ("true", "false"):
            raise FieldWrong(f"{field.label}: choose yes or no.")
        return text == "true"
    if field.kind != "number":
        return text
    try:
        number = json.loads(text)
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise FieldWrong(f"{field.label}: {text!r} is not a number such as 20 or 89.90.")
    return number
