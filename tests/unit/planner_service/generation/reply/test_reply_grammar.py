"""What is left of a JSON Schema when a grammar has to enforce it."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_service.generation.reply.reply_grammar import grammar_schema


def argument(schema: Any, **root: Any) -> dict[str, Any]:
    """The reduced schema of one argument."""
    reduced: dict[str, Any] = grammar_schema({"type": "object", "properties": {"a": schema}, **root})["properties"]["a"]
    return reduced


@pytest.mark.parametrize(
    ("schema", "reduced"),
    [
        ({"type": "string", "description": "d", "default": "x", "title": "t"}, {"type": "string"}),
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"type": "null"}, {"type": "null"}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a", "b"]}),
        ({"type": "string", "enum": ["a", 1, None]}, {"enum": ["a"]}),
        ({"type": "string", "enum": []}, {"type": "string"}),
        ({"type": "integer", "enum": ["1"]}, {"enum": ["1"]}),
        ({"const": 0}, {"const": 0}),
        ({"type": "string", "minLength": 0, "maxLength": 9}, {"type": "string", "maxLength": 9}),
        ({"type": "string", "maxLength": 100_000}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "email"}, {"type": "string"}),
        ({"type": "string", "pattern": "^web-\\d{1,3}$"}, {"type": "string", "pattern": "^web-[0-9]{1,3}$"}),
        ({"type": "string", "pattern": "^(a|b)$"}, {"type": "string", "pattern": "^(a|b)$"}),
        ({"type": "string", "pattern": "^a|b$"}, {"type": "string"}),
        ({"type": "string", "pattern": "unanchored"}, {"type": "string"}),
        ({"type": "string", "pattern": "^(?=a)b$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^a{1,999}$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^(a$"}, {"type": "string"}),
        ({"type": "integer", "minimum": 0.5, "maximum": 9.9}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        (
            {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True},
            {"type": "integer", "minimum": 1, "maximum": 4},
        ),
        ({"type": "integer", "minimum": 9, "maximum": 1}, {"type": "integer"}),
        ({"type": "integer", "maximum": 1e300}, {"type": "integer"}),
        ({"type": "number", "minimum": 0.5, "multipleOf": 3}, {"type": "number", "minimum": 0.5}),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
        (
            {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        ({"type": "object"}, {"type": "object"}),
        (
            {"type": "object", "additionalProperties": False},
            {"type": "object", "properties": {}, "additionalProperties": False},
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3, "maximum": 9}, {"maximum": 7}]},
            {"type": "integer", "minimum": 3, "maximum": 7},
        ),
        ({"type": "string", "not": {"const": "x"}, "if": {}, "then": False}, {"type": "string"}),
        ({"$ref": "#/$defs/missing"}, argument({})),
        (True, argument({})),
        ({"properties": {"b": {"const": 1}}}, argument({"type": "object", "properties": {"b": {"const": 1}}})),
    ],
)
def test_one_argument(schema: Any, reduced: dict[str, Any]) -> None:
    assert argument(schema) == reduced


def test_objects_are_closed_and_keep_the_order_of_their_properties() -> None:
    reduced = grammar_schema(
        {
            "type": "object",
            "properties": {"b": {"type": "null"}, "a": {"type": "null"}, "c": False},
            "required": ["a", "b"],
        }
    )
    assert reduced == {
        "type": "object",
        "properties": {"b": {"type": "null"}, "a": {"type": "null"}},
        "required": ["b", "a"],
        "additionalProperties": False,
    }


def test_branches_say_what_their_surroundings_say() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    first, second = grammar_schema(schema)["anyOf"]
    assert (first["required"], second["required"]) == (["a"], ["b"])
    assert first["properties"] == second["properties"]


def test_references_are_put_in_place_and_cut_where_they_lead_back() -> None:
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        "required": ["name"],
    }
    reduced = argument({"$ref": "#/$defs/tree"}, **{"$defs": {"tree": tree}})
    assert reduced["properties"]["name"] == {"type": "string"}
    assert "$ref" not in str(reduced)


def test_a_required_name_that_is_not_declared_may_be_anything() -> None:
    reduced = grammar_schema({"type": "object", "required": ["x"]})
    assert reduced["required"] == ["x"]
    assert reduced["properties"]["x"] == argument({})


_LEAVES = st.sampled_from(
    [{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")]
    + [{"enum": ["a", 2]}, {"type": "integer", "minimum": 2, "maximum": 5}, {"type": "string", "minLength": 2}, {}]
)


def _nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low}, children, st.integers(0, 2)),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(children, min_size=1, max_size=3)),
        st.builds(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)[:1]},
            st.dictionaries(st.sampled_from("abc"), children, max_size=3),
        ),
    )


_SCHEMAS = st.builds(
    lambda properties, required: {"type": "object", "properties": properties, "required": required},
    st.dictionaries(st.sampled_from("abc"), st.recursive(_LEAVES, _nested, max_leaves=8), max_size=3),
    st.lists(st.sampled_from("abc"), unique=True, max_size=3),
)
_VALUES = st.recursive(
    st.sampled_from([None, True, "a", "long", 2, 3, 2.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def _undeclared(value: Any, reduced: dict[str, Any]) -> bool:
    """Whether the only thing wrong is a property that nobody declared, which the reduction refuses on purpose."""
    opened = copy.deepcopy(reduced)

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            schema.pop("additionalProperties", None)
            for child in schema.values():
                walk(child)
        elif isinstance(schema, list):
            for child in schema:
                walk(child)

    walk(opened)
    return jsonschema_rs.is_valid(opened, value)


@settings(max_examples=150, deadline=None)
@given(_SCHEMAS, st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3))
def test_what_the_schema_accepts_the_grammar_accepts(schema: dict[str, Any], args: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    reduced = grammar_schema(schema)
    assert schema == before
    assert reduced == grammar_schema(schema)
    jsonschema_rs.validator_for(reduced)
    if jsonschema_rs.is_valid(schema, args):
        assert jsonschema_rs.is_valid(reduced, args) or _undeclared(args, reduced)
