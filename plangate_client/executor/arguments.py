"""The executor's own look at arguments: its copy of the action's JSON Schema, whatever the servers said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from plangate_client.executor.template import Placeholder, TemplateInvalid
from plangate_core.catalogue.argument_schema import OPEN_KEYWORDS
from plangate_core.contract.struct_codec import JsonObject
from plangate_core.text.truncation import truncate

_PATTERN_BYTES = 1 << 20
_MESSAGE_CHARACTERS = 400
_LONGEST_CHAIN = 16


class SchemaInvalid(ValueError):
    """The catalogue's `parameters` are no usable JSON Schema; the message says why."""


class ArgumentSchema:
    """The JSON Schema of one action's arguments. Arguments that it does not name are refused unless it says otherwise,
    as the planner reads it too."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises SchemaInvalid. References stay inside the document: nothing is ever fetched."""
        schema = {"type": "object", **parameters}
        if not OPEN_KEYWORDS & schema.keys():
            schema["additionalProperties"] = False
        self._schema = schema
        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                validate_formats=True,
                # An automaton without back references: no pattern can take longer than its text is long.
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
                retriever=_refuse_to_fetch,
            )
        except (ValueError, jsonschema_rs.ValidationError) as error:
            raise SchemaInvalid(f"parameters: {_first_line(error)}") from error

    def fault(self, args: JsonObject) -> str:
        """What is wrong with the arguments, on one line; empty when nothing is."""
        error = next(self._validator.iter_errors(args), None)
        if error is None:
            return ""
        place = ".".join(str(part) for part in error.instance_path)
        return f"{place}: {_first_line(error)}" if place else _first_line(error)

    def check_placeholder(self, placeholder: Placeholder, *, may_be_missing: bool) -> None:
        """Refuse what could never be filled in, or not always.

        :param may_be_missing: True where the catalogue says what happens without the argument.
        :raises TemplateInvalid: the message names the placeholder.
        """
        schema: Any = self._schema
        for depth, name in enumerate(placeholder.path):
            if not isinstance(schema, dict) or (OPEN_KEYWORDS & schema.keys()) - {"additionalProperties"}:
                return
            properties = schema.get("properties", {})
            if name not in properties:
                if depth or schema.get("additionalProperties") is not False:
                    return
                raise TemplateInvalid(f"{{{placeholder.name}}} names no argument of the action")
            schema, required = self._followed(properties[name]), schema.get("required", ())
            has_default = isinstance(schema, dict) and "default" in schema
            if name not in required and not has_default and not may_be_missing:
                raise TemplateInvalid(
                    f"{{{placeholder.name}}} may be missing: make the argument required, or put what goes away with it "
                    "into a list of its own"
                )
        kind = schema.get("type") if isinstance(schema, dict) else None
        if placeholder.form == "text" and kind in ("array", "object"):
            hint = f"{{{placeholder.name}*}} or " if kind == "array" else ""
            raise TemplateInvalid(f"{{{placeholder.name}}} is an {kind}: write {hint}{{{placeholder.name}:json}}")
        if placeholder.form == "spread" and kind not in ("array", None):
            raise TemplateInvalid(f"{{{placeholder.name}*}} is for lists")

    def _followed(self, schema: Any) -> Any:
        """What a reference within the document leads to, with what stands beside the reference."""
        for _ in range(_LONGEST_CHAIN):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            target: Any = self._schema
            for part in reference[2:].split("/"):
                target = (
                    target.get(unquote(part).replace("~1", "/").replace("~0", "~"))
                    if isinstance(target, dict)
                    else None
                )
            if not isinstance(target, dict):
                break
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        return schema


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"a reference must stay inside the document: {uri}")


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    line = str(text).strip().splitlines()[0] if str(text).strip() else type(error).__name__
    return truncate(line, _MESSAGE_CHARACTERS)
