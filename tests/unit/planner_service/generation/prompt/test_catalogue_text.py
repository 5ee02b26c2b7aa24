"""Arguments as a model reads them: kind, choices, default, and what is inside them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from plangate_core.catalogue.catalogue import Action, parse_catalogue
from planner_service.generation.prompt.catalogue_text import action_text, brief, without_descriptions


def action(parameters: dict[str, Any]) -> Action:
    entry = {"name": "act", "description": "Do it. Then more.", "parameters": parameters}
    return parse_catalogue(yaml.safe_dump({"version": 1, "actions": [entry]}, sort_keys=False)).actions[0]


def lines(properties: dict[str, Any], **more: Any) -> list[str]:
    text = action_text(action({"type": "object", "properties": properties, **more}))
    return text.splitlines()[1:]


URGENCY = {"enum": ["p1_immediate", "p2_same_day"], "title": "Urgency", "type": "string"}
WINDOW = {
    "description": "When it happens.",
    "properties": {
        "start": {"description": "First day", "title": "Start", "type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 30, "default": 1},
    },
    "required": ["start"],
    "type": "object",
}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (
            {"$ref": "#/$defs/Urgency", "description": "How soon"},
            ['- x ("p1_immediate"|"p2_same_day", optional): How soon'],
        ),
        (
            {"$ref": "#/$defs/Window"},
            [
                "- x (object, optional): When it happens.",
                "  - start (string, required): First day",
                "  - days (integer 1 to 30, default 1)",
            ],
        ),
        (
            {"anyOf": [{"$ref": "#/$defs/Window"}, {"type": "null"}], "default": None},
            [
                "- x (object or null, optional)",
                "  - start (string, required): First day",
                "  - days (integer 1 to 30, default 1)",
            ],
        ),
        (
            {
                "anyOf": [{"items": {"type": "string"}, "type": "array"}, {"type": "null"}],
                "default": None,
                "description": "Who",
            },
            ["- x (array of string or null, optional): Who"],
        ),
        (
            {"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}]},
            ["- x (integer or string or null, optional)"],
        ),
        (
            {"allOf": [{"$ref": "#/$defs/Urgency"}], "default": "p1_immediate"},
            ['- x ("p1_immediate"|"p2_same_day", default "p1_immediate")'],
        ),
        (
            {"allOf": [{"$ref": "#/$defs/Window"}, {"properties": {"who": {"type": "string"}}, "required": ["who"]}]},
            [
                "- x (object, optional): When it happens.",
                "  - start (string, required): First day",
                "  - days (integer 1 to 30, default 1)",
                "  - who (string, required)",
            ],
        ),
        (
            {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {"kind": {"const": "host"}, "name": {"type": "string"}},
                        "required": ["kind", "name"],
                    },
                    {"type": "object", "properties": {"kind": {"const": "group"}}, "required": ["kind"]},
                ]
            },
            [
                "- x (object, optional)",
                "  either:",
                '    - kind ("host", required)',
                "    - name (string, required)",
                "  or:",
                '    - kind ("group", required)',
            ],
        ),
        (
            {"type": "array", "items": {"$ref": "#/$defs/Window"}},
            [
                "- x (array of object, optional)",
                "  - start (string, required): First day",
                "  - days (integer 1 to 30, default 1)",
            ],
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["- x (object of integer, optional)"]),
        ({"type": ["string", "null"]}, ["- x (string|null, optional)"]),
        ({"type": "string", "nullable": True}, ["- x (string|null, optional)"]),
        ({}, ["- x (any, optional)"]),
    ],
)
def test_an_argument(argument: dict[str, Any], expected: list[str]) -> None:
    found = lines({"x": argument}, **{"$defs": {"Urgency": URGENCY, "Window": WINDOW}})
    assert [line.removeprefix("  ") for line in found] == expected


def test_alternatives_of_all_arguments() -> None:
    found = action_text(
        action(
            {"anyOf": [{"properties": {"id": {"type": "integer"}}, "required": ["id"]}, {"properties": {"name": {}}}]}
        )
    )
    assert found.splitlines()[1:] == [
        "  either:",
        "    - id (integer, required)",
        "  or:",
        "    - name (any, optional)",
    ]


def test_references_that_never_end_or_multiply_are_cut() -> None:
    tree = {"properties": {"left": {"$ref": "#/$defs/t"}, "right": {"$ref": "#/$defs/t"}}}
    assert 10 < len(lines({"t": {"$ref": "#/$defs/t"}}, **{"$defs": {"t": tree}})) < 100
    wide = {"properties": {f"a{n}": {"$ref": "#/$defs/t"} for n in range(60)}}
    assert len(lines({"t": {"$ref": "#/$defs/t"}}, **{"$defs": {"t": wide}})) <= 400


def test_shortened_actions_keep_what_an_answer_needs() -> None:
    whole = action(
        {
            "$defs": {"Window": WINDOW, "Urgency": URGENCY},
            "properties": {
                "window": {"$ref": "#/$defs/Window"},
                "urgency": {"$ref": "#/$defs/Urgency", "default": "p1_immediate", "description": "How soon"},
                "hosts": {"type": "array", "items": {"type": "string"}, "description": "Which"},
            },
            "required": ["window", "hosts"],
        }
    )
    assert action_text(without_descriptions(whole)).splitlines() == [
        "act: Do it. Then more.",
        "  - window (object, required)",
        "    - start (string, required)",
        "    - days (integer 1 to 30, optional)",
        '  - urgency ("p1_immediate"|"p2_same_day", optional)',
        "  - hosts (array of string, required)",
    ]
    assert action_text(brief(whole)).splitlines() == [
        "act: Do it. Then more.",
        "  - window (object, required)",
        "    - start (string, required)",
        "  - hosts (array of string, required)",
    ]
