"""Errors inside alternatives say what would mend the nearest of them."""

from __future__ import annotations

from typing import Any

import pytest

from plangate_core.catalogue.argument_schema import ArgumentSchema
from plangate_core.catalogue.finding import Finding

HOST = {"type": "object", "properties": {"kind": {"const": "host"}, "name": {"type": "string"}}}
GROUP = {"type": "object", "properties": {"kind": {"const": "group"}, "size": {"type": "integer"}}}
BY_KIND = [{**HOST, "required": ["kind", "name"]}, {**GROUP, "required": ["kind", "size"]}]


def found(target: dict[str, Any], value: Any) -> list[Finding]:
    return ArgumentSchema({"type": "object", "properties": {"target": target}}).check({"target": value})[1]


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_the_branch_that_a_constant_chooses(keyword: str) -> None:
    assert found({keyword: BY_KIND}, {"kind": "host"}) == [
        Finding("target.name", "missing", "Field required (of 2 alternatives the nearest)")
    ]
    assert found({keyword: BY_KIND}, {"kind": "group", "size": "many"}) == [
        Finding("target.size", "type", 'this value is not of type "integer" (of 2 alternatives the nearest)')
    ]


def test_constants_that_choose_none() -> None:
    assert found({"oneOf": BY_KIND}, {"kind": "user", "name": "x", "size": 1}) == [
        Finding("target.kind", "const", 'this value is none of: "host", "group"')
    ]


@pytest.mark.parametrize("value", ["web", 5, None])
def test_a_value_of_another_type_than_all(value: Any) -> None:
    assert found({"anyOf": [{"type": "array"}, *BY_KIND]}, value) == [
        Finding("target", "anyOf", "this value is none of: array, object")
    ]


def test_a_list_or_nothing() -> None:
    nullable = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    assert found(nullable, ["a", 1]) == [Finding("target.1", "type", 'this value is not of type "string"')]
    assert found(nullable, None) == []
    assert found(nullable, "a") == [Finding("target", "anyOf", "this value is none of: array, null")]


def test_constants_and_choices_as_alternatives() -> None:
    assert found({"anyOf": [{"const": "auto"}, {"enum": ["on", "off"]}]}, "x") == [
        Finding("target", "anyOf", 'this value is none of: "auto", "on", "off"')
    ]


def test_several_alternatives_at_once() -> None:
    assert found({"oneOf": [{"type": "integer"}, {"type": "string"}, {"minimum": 3}]}, 5) == [
        Finding("target", "oneOf", "alternatives 1, 3 of 3 fit: exactly one must")
    ]


def test_alternatives_within_alternatives_and_references() -> None:
    schema = ArgumentSchema(
        {
            "type": "object",
            "$defs": {"target": {"oneOf": BY_KIND}},
            "properties": {"targets": {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/target"}}]}},
        }
    )
    assert [error.path for error in schema.check({"targets": [{"kind": "group"}]})[1]] == ["targets.0.size"]


def test_values_are_not_quoted() -> None:
    messages = [error.message for error in found({"oneOf": BY_KIND}, {"kind": "host", "name": ["s3cr3t"]})]
    assert messages
    assert not any("s3cr3t" in message for message in messages)
