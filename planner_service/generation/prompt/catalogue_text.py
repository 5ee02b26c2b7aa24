"""Actions as a model reads them: fewer tokens than JSON Schema, and closer to what it will write."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from plangate_core.catalogue.catalogue import Action
from planner_service.generation.reply.reply_grammar import Schema, flattened, merged

_MAX_DESCRIPTION = 500
_MAX_ARGUMENT_DESCRIPTION = 300
_MAX_BRIEF_DESCRIPTION = 120
_MAX_CHOICES = 30
_MAX_ALTERNATIVES = 8
_MAX_DEPTH = 4
_MAX_LINES = 400
_KEPT_WITHOUT_WORDS = frozenset(
    {"type", "enum", "const", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"minLength", "maxLength", "minItems", "maxItems", "required", "additionalProperties"}
)


def catalogue_text(actions: Sequence[Action]) -> str:
    """One line for each action, one indented line for each argument."""
    return "\n".join(action_text(action) for action in actions)


def action_text(action: Action) -> str:
    """The lines of one action; its name alone when it has no description."""
    if not action.description:
        return action.name
    lines = [f"{action.name}: {clipped(action.description, _MAX_DESCRIPTION)}"]
    lines.extend(islice(_Reader(action.parameters).of(action.parameters, 1), _MAX_LINES))
    return "\n".join(lines)


def clipped(text: str, limit: int) -> str:
    """On one line, cut at a word."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + "…"


def without_descriptions(action: Action) -> Action:
    """The action with its first words, and all its arguments without theirs."""
    reader = _Reader(action.parameters)
    return dataclasses.replace(
        action,
        description=clipped(action.description, 2 * _MAX_BRIEF_DESCRIPTION),
        parameters=reader.without_words(action.parameters, required_only=False),
    )


def brief(action: Action) -> Action:
    """The action with its first words, and the required arguments alone."""
    reader = _Reader(action.parameters)
    return dataclasses.replace(
        action,
        description=clipped(action.description.split("\n", 1)[0], _MAX_BRIEF_DESCRIPTION),
        parameters=reader.without_words(action.parameters, required_only=True),
    )


def named(action: Action) -> Action:
    """The action as it is shown by its name alone: without its description, and with its required arguments."""
    return dataclasses.replace(brief(action), description="")


class _Reader:
    """Reads the schemas of one document, with references and `allOf` in place."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def plain(self, schema: Any) -> dict[str, Any]:
        """The schema with what its `$ref` and `allOf` say."""
        return flattened(self._root, schema)[0] if isinstance(schema, Mapping) else {}

    def alternatives(self, schema: Schema) -> list[dict[str, Any]]:
        """What the value may be, one of these: the branches of `anyOf` or `oneOf`, or the schema itself."""
        plain = self.plain(schema)
        branches = plain.get("anyOf") or plain.get("oneOf")
        if not isinstance(branches, list) or not branches:
            return [plain]
        around = {key: value for key, value in plain.items() if key not in ("anyOf", "oneOf", "description", "default")}
        return [merged([self.plain(branch), around]) for branch in branches[:_MAX_ALTERNATIVES]]

    def without_words(self, schema: Any, *, required_only: bool, depth: int = 0) -> dict[str, Any]:
        """A copy that stands alone: references in place, no descriptions, few levels."""

        def inner(subschema: Any) -> dict[str, Any]:
            return self.without_words(subschema, required_only=required_only, depth=depth + 1)

        plain = self.plain(schema)
        kept: dict[str, Any] = {key: plain[key] for key in plain if key in _KEPT_WITHOUT_WORDS}
        if depth > _MAX_DEPTH:
            return kept
        branches = plain.get("anyOf") or plain.get("oneOf")
        if isinstance(branches, list) and branches:
            kept["anyOf"] = [inner(branch) for branch in branches[:_MAX_ALTERNATIVES] if isinstance(branch, Mapping)]
        for keyword in ("items", "additionalProperties"):
            if isinstance(held := plain.get(keyword), Mapping):
                kept[keyword] = inner(held)
        if isinstance(properties := plain.get("properties"), Mapping):
            required = _required(plain)
            kept["properties"] = {
                name: inner(argument)
                for name, argument in properties.items()
                if isinstance(argument, Mapping) and (name in required or not required_only)
            }
        return kept

    def of(self, schema: Schema, depth: int) -> Iterator[str]:
        """A line for each argument of an object, and for what is inside them."""
        if depth > _MAX_DEPTH:
            return
        objects = [one for one in self.alternatives(schema) if one.get("properties")]
        for index, one in enumerate(objects):
            if len(objects) > 1:
                yield f"{'  ' * depth}{'or' if index else 'either'}:"
            yield from self._properties(one, depth + (len(objects) > 1))

    def _properties(self, schema: Schema, depth: int) -> Iterator[str]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or depth > _MAX_DEPTH:
            return
        required = _required(schema)
        for name, written in properties.items():
            if not isinstance(written, Mapping):
                continue
            argument = self.plain(written)
            marks = [self._kind(argument)]
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
            yield from self._inside(argument, depth + 1)

    def _inside(self, schema: Schema, depth: int) -> Iterator[str]:
        yield from self.of(schema, depth)
        for one in self.alternatives(schema):
            for held in (one.get("items"), one.get("additionalProperties")):
                if isinstance(held, Mapping) and depth <= _MAX_DEPTH:
                    yield from self._inside(held, depth + 1 if "items" not in one else depth)

    def _kind(self, schema: Any, depth: int = 0) -> str:
        alternatives = self.alternatives(schema) if isinstance(schema, Mapping) else []
        if depth > _MAX_DEPTH:
            return "any"
        if len(alternatives) > 1:
            kinds = dict.fromkeys(self._kind(one, depth + 1) for one in alternatives)
            # Null last: what else it may be matters more.
            return " or ".join(sorted(kinds, key=lambda kind: kind == "null"))
        [one] = alternatives or [{}]
        return self._kind_of_one(one, depth)

    def _kind_of_one(self, schema: Schema, depth: int) -> str:
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            shown = "|".join(_json(choice) for choice in choices[:_MAX_CHOICES])
            return shown if len(choices) <= _MAX_CHOICES else f"{shown}|…"
        if "const" in schema:
            return _json(schema["const"])
        kind = schema.get("type")
        if kind == "array" or (kind is None and "items" in schema):
            items = schema.get("items")
            return f"array of {self._kind(items, depth + 1)}" if isinstance(items, Mapping) and items else "array"
        if isinstance(kind, list):
            return "|".join(str(one) for one in kind)
        if kind == "object" or (kind is None and "properties" in schema):
            values = schema.get("additionalProperties")
            if not schema.get("properties") and isinstance(values, Mapping) and values:
                return f"object of {self._kind(values, depth + 1)}"
            return "object"
        if isinstance(kind, str):
            limits = (schema.get("minimum"), schema.get("maximum"))
            if kind in ("integer", "number") and all(isinstance(limit, (int, float)) for limit in limits):
                return f"{kind} {_json(limits[0])} to {_json(limits[1])}"
            text_form = schema.get("format") or schema.get("pattern")
            return f"{kind} {clipped(str(text_form), 60)}" if kind == "string" and text_form else kind
        return "any"


def _required(schema: Schema) -> list[Any]:
    listed = schema.get("required")
    return listed if isinstance(listed, list) else []


def _json(value: Any) -> str:
    return clipped(json.dumps(value, ensure_ascii=False), 120)
