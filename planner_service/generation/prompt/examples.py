"""Examples of requests and answers, made of the user's own catalogue with made-up values.

A small model learns the form of an answer from them: one job for each thing requested, arguments under their own names,
and that some requests fit nothing. They are the same for the same catalogue, to the byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import re2

from plangate_core.catalogue.catalogue import Action
from planner_service.generation.prompt.catalogue_text import clipped
from planner_service.generation.reply.reply_grammar import grammar_schema

# Small and capital letters, spaces and digits: a model that saw lower case only writes los_angeles for Los Angeles, and
# one that saw capitals only writes Payments for payments. The last example has the first word: as identifiers are.
_WORDS = [
    "kestrel",
    "Blue Marble",
    "juniper-2",
    "Harbor",
    "saffron",
    "Walnut Hill",
    "lantern",
    "Meadow Row",
    "copper",
    "orchid-7",
]
_NUMBERS = (7, 12, 3, 25, 4, 18, 9, 30, 6, 15)
# What patterns often ask for. A request that says no year gets the one of the example: so it is the one that the model
# would take by itself.
_DATES = ["2023-05-04", "05/04/2023", "04.05.2023", "2023-05", "2023-2024"]
_TIMES = ["14:30", "14:30:00", "2023-05-04 14:30", "2023-05-04 14:30:00", "2023-05-04 to 2023-05-09"]
_FORMS = (*_DATES, *_TIMES, "7", "a7")
_FORMATS = {
    "date": "2023-05-04",
    "time": "14:30:00",
    "date-time": "2023-05-04T14:30:00Z",
    "uuid": "0190b6f8-3c1d-7a52-9e44-5d1b7a2c6e01",
}
_OFF_TOPIC = (
    "What should I cook for dinner tonight?",
    "Who won the world cup in 1998?",
    "Write me a poem about the sea.",
    "Tell me a joke about cats.",
)
_PURPOSE_ENDS = re.compile(r"(?<=[a-z)])\.\s|\.$|: |; | using | based on | given | including ")
_MAX_ARGUMENTS = 6
_MAX_DEPTH = 4


Job = dict[str, Any]
"""As a reply has it: {"action_name": ..., "action_args": {...}}."""


class _Values:
    """Made-up values, one after the other, so that every argument of an example has its own."""

    def __init__(self, start: int) -> None:
        self._next = start

    def of(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that the reduced schema allows, as far as made-up words can."""
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._turn(schema["enum"])
        if schema.get("anyOf"):
            return self.of(schema["anyOf"][0], depth)
        match schema.get("type"):
            case "integer":
                return _within(self._turn(_NUMBERS), schema)
            case "number":
                return _within(self._turn(_NUMBERS) + 0.5, schema)
            case "boolean":
                return True
            case "array":
                return self._array(schema, depth)
            case "object":
                return self._object(schema, depth)
            case "null":
                return None
            case _:
                return self._text(schema)

    def _turn(self, values: Sequence[Any]) -> Any:
        self._next += 1
        return values[(self._next - 1) % len(values)]

    def _text(self, schema: Mapping[str, Any]) -> str:
        if text := _FORMATS.get(schema.get("format", "")):
            return text
        word: str = self._turn(_WORDS)
        if isinstance(pattern := schema.get("pattern"), str):
            second, third = self._turn(_WORDS), self._turn(_WORDS)
            return _fitting(pattern, (word, word.lower(), *_FORMS, f"{word}, {second}", f"{word}, {second}, {third}"))
        return word[: schema.get("maxLength", len(word))].ljust(schema.get("minLength", 0), "x")

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if places := schema.get("prefixItems"):
            return [self.of(place, depth + 1) for place in places]
        if depth >= _MAX_DEPTH:
            return []
        count = max(2, schema.get("minItems", 0))
        count = min(count, schema.get("maxItems", count))
        return [self.of(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or list(properties)[:2]
        if depth >= _MAX_DEPTH:
            return {}
        return {name: self.of(properties[name], depth + 1) for name in properties if name in required}


def example_of(actions: Sequence[Action], number: int) -> tuple[str, list[Job]]:
    """One request for all of these, and its jobs in their order. Another `number` gives other values."""
    parts = [_part(action, number + index) for index, action in enumerate(actions)]
    return _sentence(" and ".join(request for request, _ in parts)), [job for _, job in parts]


def example_twice(action: Action, number: int) -> tuple[str, list[Job]]:
    """One request for the same action with two sets of values, as people put it: its purpose only once."""
    (first, job), (second, other) = (_part(action, number), _part(action, number + 1))
    again = "twice" if first == second else f"and also with {second.removeprefix(f'{_purpose_of(action)} with ')}"
    return _sentence(f"{first} {again}"), [job, other]


def _part(action: Action, number: int) -> tuple[str, Job]:
    """A part of a request and its job: the action's required arguments, or one optional one if none is."""
    schema = grammar_schema(action.parameters)
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    optional = [name for name in properties if name not in required]
    names = set(required[:_MAX_ARGUMENTS])
    if optional and not names:
        names.add(optional[number % len(optional)])
    values = _Values(number * 3)
    args = {name: values.of(argument) for name, argument in properties.items() if name in names}
    spoken = ", ".join(f"{_spoken(name)} {_spoken_value(value)}" for name, value in args.items())
    purpose = _purpose_of(action)
    return f"{purpose} with {spoken}" if spoken else purpose, {"action_name": action.name, "action_args": args}


def _sentence(request: str) -> str:
    return f"{request[0].upper()}{request[1:]}."


def _purpose_of(action: Action) -> str:
    """What an action does, as somebody would ask for it: the first words of its description."""
    sentence = _PURPOSE_ENDS.split(clipped(action.description, 200))[0]
    words = sentence.strip(" .").split()[:14] or [action.name]
    first = words[0]
    return " ".join([first[0].lower() + first[1:] if first[1:].islower() else first, *words[1:]])


def off_topic_requests(actions: Sequence[Action], count: int) -> list[str]:
    """Requests that have no word in common with the catalogue, as far as there are any."""
    known = _long_words(" ".join(f"{action.name} {action.description}" for action in actions))
    foreign = [request for request in _OFF_TOPIC if not _long_words(request) & known]
    return (foreign + [request for request in _OFF_TOPIC if request not in foreign])[:count]


def _long_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _fitting(pattern: str, candidates: Sequence[str]) -> str:
    """The first that the pattern allows, else the first."""
    try:
        compiled = re2.compile(pattern)
    except re2.error:
        return candidates[0]
    return next((candidate for candidate in candidates if compiled.fullmatch(candidate)), candidates[0])


def _spoken_value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " and ".join(_spoken_value(item) for item in value) or "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{_spoken(name)} {_spoken_value(item)}" for name, item in value.items()) or "nothing"
    return json.dumps(value)


def _within(number: float, schema: Mapping[str, Any]) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and number <= low:
        number = low if "minimum" in schema else low + (high - low) / 2 if high is not None else low + 1
    if high is not None and number >= high:
        number = high if "maximum" in schema else low + (high - low) / 2 if low is not None else high - 1
    return number
