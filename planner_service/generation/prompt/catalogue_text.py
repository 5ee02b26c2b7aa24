"""Actions as a model reads them: fewer tokens than JSON Schema, and closer to what it will write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Action

_MAX_DESCRIPTION = 500
_MAX_ARGUMENT_DESCRIPTION = 300
_MAX_CHOICES = 30
_MAX_DEPTH = 4


def catalogue_text(actions: Sequence[Action]) -> str:
    """One line for each action, one indented line for each argument."""
    return "\n".join(action_text(action) for action in actions)


def action_text(action: Action) -> str:
    """The lines of one action."""
    lines = [f"{action.name}: {clipped(action.description, _MAX_DESCRIPTION)}"]
    lines.extend(_arguments(action.parameters, 1))
    return "\n".join(lines)


def clipped(text: str, limit: int) -> str:
    """On one line, cut at a word."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + "…"


def _arguments(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth > _MAX_DEPTH:
        return
    listed = schema.get("required")
    required = listed if isinstance(listed, list) else []
    for name, argument in properties.items():
        if not isinstance(argument, Mapping):
            continue
        marks = [_kind(argument)]
        if name in required:
            marks.append("required")
        elif argument.get("default") is not None:
            marks.append(f"default {_json(argument['default'])}")
        else:
            marks.append("optional")
        line = f"{'  ' * depth}- {name} ({', '.join(marks)})"
        description = argument.get("description")
        if isinstance(description, str) and description.strip():
            line += f": {clipped(description, _MAX_ARGUMENT_DESCRIPTION)}"
        yield line
        yield from _arguments(argument, depth + 1)
        items = argument.get("items")
        if isinstance(items, Mapping):
            yield from _arguments(items, depth + 1)


def _kind(schema: Mapping[str, Any]) -> str:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        shown = "|".join(_json(choice) for choice in choices[:_MAX_CHOICES])
        return shown if len(choices) <= _MAX_CHOICES else f"{shown}|…"
    if "const" in schema:
        return _json(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items")
        return f"array of {_kind(items)}" if isinstance(items, Mapping) and items else "array"
    if isinstance(kind, list):
        return "|".join(str(one) for one in kind)
    if isinstance(kind, str):
        limits = (schema.get("minimum"), schema.get("maximum"))
        if kind in ("integer", "number") and all(isinstance(limit, (int, float)) for limit in limits):
            return f"{kind} {_json(limits[0])} to {_json(limits[1])}"
        text_form = schema.get("format") or schema.get("pattern")
        return f"{kind} {clipped(str(text_form), 60)}" if kind == "string" and text_form else kind
    return "any"


def _json(value: Any) -> str:
    return clipped(json.dumps(value, ensure_ascii=False), 120)
