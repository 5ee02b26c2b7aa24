"""Arguments as bindings use them: whether a placeholder can be filled in, and whether given arguments fit."""

from __future__ import annotations

from typing import Any

from plangate_client.executor.template import Placeholder, TemplateInvalid
from plangate_core.catalogue.argument_schema import OPEN_KEYWORDS, ArgumentSchema, named_types
from plangate_core.catalogue.json_pointer import resolve
from plangate_core.contract.struct_codec import JsonObject

_LONGEST_CHAIN = 16


def arguments_fault(args: JsonObject, schema: ArgumentSchema) -> str:
    """What is wrong with the arguments as they are, on one line; empty when nothing is."""
    for finding in schema.findings(args):
        return f"{finding.path}: {finding.message}" if finding.path else finding.message
    return ""


def check_placeholder(placeholder: Placeholder, arguments: ArgumentSchema, *, may_be_missing: bool) -> None:
    """Refuse a placeholder that could never be filled in, or not always.

    :param may_be_missing: True where the catalogue says what happens without the argument.
    :raises TemplateInvalid: the message names the placeholder.
    """
    schema: Any = arguments.schema
    for depth, name in enumerate(placeholder.path):
        if not isinstance(schema, dict) or (OPEN_KEYWORDS & schema.keys()) - {"additionalProperties"}:
            return
        properties = schema.get("properties", {})
        if name not in properties:
            if depth or schema.get("additionalProperties") is not False:
                return
            raise TemplateInvalid(f"{{{placeholder.name}}} names no argument of the action")
        required = schema.get("required", ())
        schema = _followed(properties[name], arguments)
        has_default = isinstance(schema, dict) and "default" in schema
        if name not in required and not has_default and not may_be_missing:
            raise TemplateInvalid(
                f"{{{placeholder.name}}} may be missing: make the argument required, or put what goes away with it "
                "into a list of its own"
            )
    kinds = named_types(schema)
    if placeholder.form == "text" and kinds and kinds <= {"array", "object"}:
        hint = f"{{{placeholder.name}*}} or " if "array" in kinds else ""
        raise TemplateInvalid(
            f"{{{placeholder.name}}} is an {' or '.join(sorted(kinds))}: write {hint}{{{placeholder.name}:json}}"
        )
    if placeholder.form == "spread" and kinds and "array" not in kinds:
        raise TemplateInvalid(f"{{{placeholder.name}*}} is for lists")


def _followed(schema: Any, arguments: ArgumentSchema) -> Any:
    """What a reference within the document leads to, with what stands beside the reference."""
    for _ in range(_LONGEST_CHAIN):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        target = resolve(arguments.schema, reference) if isinstance(reference, str) else None
        if not isinstance(target, dict):
            break
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema
