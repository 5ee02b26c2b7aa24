"""What JSON Schema takes and an author did not mean is a warning, with its place."""

from __future__ import annotations

import pytest

from plangate_core.catalogue.catalogue import parse_catalogue


def warnings(parameters: str) -> list[str]:
    text = f"version: 1\nactions:\n- name: a\n  description: b\n  parameters: {parameters}\n"
    return [warning.removeprefix("line:5:") for warning in parse_catalogue(text).warnings]


@pytest.mark.parametrize(
    ("parameters", "warning"),
    [
        (
            "{properties: {folder: {type: string}}, required: [directory]}",
            "65: actions.0.parameters.required.0: directory is required, but not declared under properties: no "
            "arguments are ever valid",
        ),
        ("{required: [directory]}", "no arguments are ever valid"),
        ("{properties: {folder: {}}, required: [foldr]}", "did you mean folder?"),
        (
            "{properties: {x: {properties: {a: {}}, required: [b]}}}",
            "b is required, but not declared under properties: it has no description",
        ),
        (
            "{properties: {x: {}}, requird: [x]}",
            "46: actions.0.parameters.requird: there is no such keyword in JSON Schema; did you mean required?",
        ),
        ("{properties: {x: {typ: string}}}", "did you mean type?"),
        ("{properties: {x: {items: {minlength: 1}}}}", "did you mean minLength?"),
        ("{service: {type: string}}", "declare arguments under properties"),
        ("{properties: {x: {colour: red}}}", "it means nothing"),
        ("{properties: {x: {enum: []}}}", "39: actions.0.parameters.properties.x.enum: an empty enum"),
        ("{properties: {x: {type: integer, enum: [1, '2']}}}", "enum.1: this choice is not of the type integer"),
        ("{properties: {x: {minimum: 5, maximum: 4}}}", "minimum 5 is more than maximum 4"),
        ("{properties: {x: {minLength: 5, maxLength: 4}}}", "minLength 5 is more than maxLength 4"),
        (
            "{properties: {day: {type: string, description: \"The day, in the format 'YYYY-MM-DD'.\"}}}",
            "the form that it states is not checked: write pattern:",
        ),
    ],
)
def test_is_told(parameters: str, warning: str) -> None:
    [found] = warnings(parameters)
    assert warning in found


@pytest.mark.parametrize(
    "parameters",
    [
        "{properties: {a: {}, b: {}}, anyOf: [{required: [a]}, {required: [b]}]}",
        "{properties: {a: {}}, allOf: [{properties: {b: {}}}], required: [a, b]}",
        "{properties: {a: {if: {required: [x]}, then: {required: [y]}, x-ours: 1}}}",
        "{properties: {requird: {type: string}}, required: [requird]}",
        "{patternProperties: {'^x': {}}, required: [x1]}",
        "{properties: {a: {type: string, enum: [a, b], example: a, deprecated: true}}}",
        "{properties: {a: {minimum: 4, maximum: 4}}}",
        "{$defs: {A: {properties: {n: {}}, required: [n]}}, properties: {a: {$ref: '#/$defs/A'}}}",
    ],
)
def test_is_nothing_odd(parameters: str) -> None:
    assert warnings(parameters) == []
