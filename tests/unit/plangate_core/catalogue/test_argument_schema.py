"""Argument schemas: checked by real JSON Schema, completed, and refused when they could reach out or run away."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.catalogue import CatalogueInvalid, parse_catalogue
from plangate_core.catalogue.schema_bounds import SchemaRefused


def checked(schema: dict[str, Any], args: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    complete, errors = ArgumentSchema({"type": "object", **schema}).check(args)
    return complete, [(error.path, error.type) for error in errors]


SCHEMA: dict[str, Any] = {
    "properties": {
        "count": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number"},
        "names": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}, "uniqueItems": True},
        "when": {"type": "string", "format": "date-time"},
        "nested": {"type": "object", "properties": {"deep": {"enum": ["a", "b"]}}, "required": ["deep"]},
    },
    "required": ["count"],
    "additionalProperties": False,
}


def test_errors_name_path_and_kind() -> None:
    args = {"ratio": "1", "names": ["ok", "NOT", "ok"], "when": "soon", "nested": {"deep": "c"}, "extra": 1}
    _, errors = checked(SCHEMA, args)
    assert set(errors) == {
        ("count", "missing"),
        ("ratio", "type"),
        ("names", "uniqueItems"),
        ("names.1", "pattern"),
        ("when", "format"),
        ("nested.deep", "enum"),
        ("", "additionalProperties"),
    }


def test_messages_do_not_hold_the_values() -> None:
    schema = ArgumentSchema({"type": "object", "properties": {"token": {"type": "integer"}}})
    [error] = schema.check({"token": "s3cr3t"})[1]
    assert error.message == 'this value is not of type "integer"'


def test_whole_doubles_are_integers_and_nothing_else_is_converted() -> None:
    assert checked(SCHEMA, {"count": 3.0}) == ({"count": 3}, [])
    assert isinstance(checked(SCHEMA, {"count": 3.0})[0]["count"], int)
    for value in ("3", 3.5, True, None, [3]):
        assert checked(SCHEMA, {"count": value})[1] == [("count", "type")]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "3", 3),
        ("integer", " -3.0 ", -3),
        ("number", "2.5", 2.5),
        ("boolean", "True", True),
        ("boolean", "false", False),
    ],
)
def test_texts_are_converted_where_the_schema_says_so(kind: str, text: str, value: object) -> None:
    complete, errors = checked({"properties": {"x": {"type": kind, "x-coerce": True}}}, {"x": text})
    assert (complete, errors) == ({"x": value}, [])


@pytest.mark.parametrize(("kind", "text"), [("integer", "3.5"), ("integer", "x"), ("number", "nan"), ("boolean", "1")])
def test_what_is_no_such_text_stays_wrong(kind: str, text: str) -> None:
    complete, errors = checked({"properties": {"x": {"type": kind, "x-coerce": True}}}, {"x": text})
    assert (complete, errors) == ({"x": text}, [("x", "type")])


def test_defaults_are_filled_in_along_properties_items_and_references() -> None:
    schema = {
        "$defs": {"port": {"type": "integer", "default": 80}},
        "properties": {
            "host": {
                "type": "object",
                "properties": {"port": {"$ref": "#/$defs/port"}, "tls": {"type": "boolean"}},
                "default": {},
            },
            "hosts": {"type": "array", "items": {"properties": {"port": {"default": 1.0}}}},
        },
        "allOf": [{"properties": {"more": {"default": [1]}}}],
    }
    complete, errors = checked(schema, {"hosts": [{}, {"port": 5}]})
    assert errors == []
    assert complete == {"host": {"port": 80}, "hosts": [{"port": 1}, {"port": 5}], "more": [1]}
    # A default is a copy: what one plan does to it, no other sees.
    complete["more"].append(2)
    assert checked(schema, {})[0]["more"] == [1]


def test_a_default_of_null_is_none_at_all() -> None:
    schema = ArgumentSchema({"type": "object", "properties": {"unit": {"type": "string", "default": None}}})
    assert schema.check({}) == ({}, [])


def test_a_default_that_its_own_schema_refuses_is_left_out() -> None:
    schema = ArgumentSchema(
        {
            "type": "object",
            "$defs": {"genre": {"enum": ["jazz", "rock"], "default": ""}},
            "properties": {
                "genre": {"$ref": "#/$defs/genre"},
                "year": {"type": "integer", "default": "dontcare"},
                "count": {"type": "integer", "default": 3},
                "default": {"type": "string", "default": "kept"},
            },
            "required": ["year"],
        }
    )
    assert schema.check({"year": 1}) == ({"year": 1, "count": 3, "default": "kept"}, [])
    assert [error.path for error in schema.check({})[1]] == ["year"]
    assert {unfit.path for unfit in schema.unfit_defaults} == {
        ("$defs", "genre", "default"),
        ("properties", "year", "default"),
    }
    assert "dontcare" not in json.dumps(schema.schema)
    assert schema.schema["properties"]["default"]["default"] == "kept"


def test_whether_a_default_fits_is_judged_when_it_is_complete() -> None:
    inner = {"type": "object", "properties": {"port": {"type": "integer", "default": 80}}, "required": ["port"]}
    fitting = ArgumentSchema({"type": "object", "properties": {"host": {**inner, "default": {}}}})
    assert fitting.unfit_defaults == ()
    assert fitting.check({})[0] == {"host": {"port": 80}}
    spelled = ArgumentSchema(
        {"type": "object", "properties": {"n": {"type": "integer", "x-coerce": True, "default": "3"}}}
    )
    assert (spelled.unfit_defaults, spelled.check({})[0]) == ((), {"n": 3})
    # Without the inner default the outer one lacks what it requires.
    inner["properties"] = {"port": {"type": "integer", "default": "http"}}
    unfit = ArgumentSchema({"type": "object", "properties": {"host": {**inner, "default": {}}}})
    assert len(unfit.unfit_defaults) == 2
    assert unfit.check({}) == ({}, [])


def test_many_defaults_that_hold_many_defaults_are_read_at_once() -> None:
    many = {f"x{number}": {"type": "integer", "default": 1} for number in range(900)}
    schema = {
        "type": "object",
        "$defs": {"many": {"type": "object", "properties": many}},
        "additionalProperties": True,
        "anyOf": [{"properties": {"x": {"$ref": "#/$defs/many", "default": {}}}} for _ in range(60)],
    }
    begun = time.perf_counter()
    with pytest.raises(SchemaRefused, match="defaults"):
        ArgumentSchema(schema)
    assert time.perf_counter() - begun < 5


def test_anchors_are_followed_by_checks_but_not_by_defaults() -> None:
    schema = {
        "$defs": {"port": {"$anchor": "port", "type": "integer", "default": 80}},
        "properties": {"port": {"$ref": "#port"}, "other": {"default": 1}},
    }
    assert checked(schema, {"port": {}}) == ({"port": {}, "other": 1}, [("port", "type")])
    assert checked(schema, {}) == ({"other": 1}, [])


def test_arguments_that_nobody_declared_are_refused_unless_the_schema_speaks_of_them() -> None:
    assert closed({"properties": {}})["additionalProperties"] is False
    for open_one in (
        {"additionalProperties": True},
        {"patternProperties": {"^x": {}}},
        {"allOf": [{}]},
        {"$ref": "#/$defs/x"},
    ):
        assert closed(open_one) == open_one


DRAFTS = [
    ("http://json-schema.org/draft-04/schema#", {"maximum": 3, "exclusiveMaximum": True}),
    ("http://json-schema.org/draft-06/schema#", {"exclusiveMaximum": 3}),
    ("http://json-schema.org/draft-07/schema#", {"if": {"minimum": 3}, "then": False}),
    ("https://json-schema.org/draft/2019-09/schema", {"exclusiveMaximum": 3}),
    ("https://json-schema.org/draft/2020-12/schema", {"exclusiveMaximum": 3}),
]


@pytest.mark.parametrize(("draft", "subschema"), DRAFTS)
def test_all_drafts_are_understood(draft: str, subschema: dict[str, Any]) -> None:
    schema = {"$schema": draft, "properties": {"x": subschema}}
    assert checked(schema, {"x": 2})[1] == []
    assert len(checked(schema, {"x": 3})[1]) == 1


def doubling(keyword: str, levels: int = 30) -> dict[str, Any]:
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels):
        definitions[f"d{level}"] = {keyword: [{"$ref": f"#/$defs/d{level - 1}"}, {"$ref": f"#/$defs/d{level - 1}"}]}
    return {"$defs": definitions, "properties": {"x": {"$ref": f"#/$defs/d{levels - 1}"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"x": schema}}
    return schema


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"properties": {"x": {"$ref": "https://example.com/s.json"}}}, "stay inside the document"),
    ({"properties": {"x": {"$ref": "file:///etc/passwd"}}}, "stay inside the document"),
    ({"properties": {"x": {"$ref": "other.json#/x"}}}, "stay inside the document"),
    ({"properties": {"x": {"$dynamicRef": "http://example.com#x"}}}, "stay inside the document"),
    ({"properties": {"x": {"$id": "http://example.com/", "$ref": "#/x"}}}, "leads to no schema"),
    ({"properties": {"x": {"$id": "http://example.com/x", "type": "string"}}}, "only allowed at the top"),
    ({"properties": {"x": {"$ref": "#/$defs/none"}}}, "leads to no schema"),
    ({"properties": {"x": {"$ref": "#none"}}}, "no anchor"),
    ({"$ref": "#"}, "leads back to itself"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "leads back to itself"),
    ({"$recursiveRef": "#"}, "leads back to itself"),
    (doubling("anyOf"), "multiply"),
    (doubling("allOf"), "multiply"),
    (doubling("oneOf"), "multiply"),
    ({"$defs": {"t": {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/t"}] * 2}}}}, "$ref": "#/$defs/t"}, "multiply"),
    (
        {"$defs": {"t": {"items": {"$ref": "#/$defs/t"}, "contains": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"},
        "mult",
    ),
    ({"properties": {"x": {"pattern": "(a{1000}){1000}"}}}, "unfolds to too much"),
    ({"properties": {"x": {"pattern": "(?=(a{1000}){1000})b"}}}, "unfolds to too much"),
    ({"properties": {"x": {"pattern": "("}}}, "it is wrong"),
    ({"properties": {"x": {"pattern": "a" * 1001}}}, "longer than"),
    ({"patternProperties": {"(?!x": {}}}, "it is wrong"),
    ({"properties": {"x": {"type": "strnig"}}}, "not a JSON Schema"),
    ({"properties": {"x": {"minimum": "1"}}}, "not a JSON Schema"),
    ({"properties": {"x": 5}}, "must be a mapping"),
    ({"$schema": "http://example.com/own"}, "meta-schema"),
    (nested(60), "nested deeper"),
    ({"properties": {f"x{number}": {} for number in range(6000)}}, "more than 5000"),
    (
        {"$defs": {"t": {"properties": {"l": {"$ref": "#/$defs/t", "default": {}}}}}, "$ref": "#/$defs/t"},
        "defaults would be filled in",
    ),
]


@pytest.mark.parametrize(("schema", "words"), HOSTILE)
def test_hostile_schemas_are_refused_at_once(schema: dict[str, Any], words: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(SchemaRefused) as caught:
        ArgumentSchema({"type": "object", **schema})
    assert words in caught.value.message
    # Seconds, not milliseconds: this machine may be busy. What it guards against would take years.
    assert time.perf_counter() - begun < 5


def test_recursive_data_and_catastrophic_patterns_are_fine() -> None:
    tree = {
        "$defs": {
            "t": {"properties": {"l": {"$ref": "#/$defs/t"}, "r": {"$ref": "#/$defs/t"}, "v": {"type": "integer"}}}
        },
        "properties": {"tree": {"$ref": "#/$defs/t"}, "text": {"type": "string", "pattern": "^(a+)+$"}},
    }
    value: dict[str, Any] = {"v": "x"}
    for _ in range(29):
        value = {"l": value, "r": {"v": 1}}
    assert checked(tree, {"tree": value})[1] == [("tree." + "l." * 29 + "v", "type")]
    begun = time.perf_counter()
    assert checked(tree, {"text": "a" * 60_000 + "b"})[1] == [("text", "pattern")]
    assert time.perf_counter() - begun < 5


MAIL = r"^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+\-\.]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"


@pytest.mark.parametrize(
    ("pattern", "fitting", "unfit"),
    [
        (MAIL, "ann.lee@example.org", "ann..lee@example.org"),
        (r"^(?!-)[a-z-]+(?<!-)$", "web-a", "web-"),
        (r"(.)\1", "book", "bok"),
    ],
)
def test_look_around_and_back_references_are_heeded(pattern: str, fitting: str, unfit: str) -> None:
    schema = {"properties": {"x": {"type": "string", "pattern": pattern}}}
    assert checked(schema, {"x": fitting})[1] == []
    assert checked(schema, {"x": unfit})[1] == [("x", "pattern")]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"items": {"pattern": r"^(?=a)(a+a+)+\1b$"}}}},
        {"properties": {"x": {"not": {"items": {"pattern": r"^(?=a)(a+a+)+\1b$"}}}}},
        {"properties": {"x": {"items": {"patternProperties": {r"^(?=a)(a+a+)+\1b$": False}}}}},
    ],
)
def test_a_value_that_a_pattern_cannot_judge_in_bounded_time_is_refused(schema: dict[str, Any]) -> None:
    text = "a" * 10_000
    begun = time.perf_counter()
    assert checked(schema, {"x": [text, {text: 1}]})[1] != []
    assert time.perf_counter() - begun < 5


def test_arguments_nested_too_deep_are_an_error() -> None:
    value: Any = 1
    for _ in range(40):
        value = {"x": value}
    assert checked({}, value)[1] == [("", "too_deep")]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "other"]), JSON, max_size=5))
def test_checking_changes_nothing_that_was_given_and_settles(args: dict[str, Any]) -> None:
    schema = ArgumentSchema({"type": "object", **SCHEMA})
    given_args = copy.deepcopy(args)
    complete, errors = schema.check(args)
    assert json.dumps(args) == json.dumps(given_args)
    again, errors_again = schema.check(complete)
    assert (json.dumps(again), errors_again) == (json.dumps(complete), errors)


def test_the_catalogue_says_where_a_schema_is_wrong() -> None:
    text = """version: 1
actions:
  - name: a
    description: b
    parameters:
      properties:
        x: {type: string}
        y:
          items:
            $ref: "https://example.com/y"
"""
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue(text)
    assert (caught.value.line, caught.value.column) == (10, 19)
    assert caught.value.message.startswith("actions.0.parameters.properties.y.items.$ref: a reference must stay")


LARGE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"x": {"type": "object", "propertyNames": {"pattern": "^[a-z-]+$"}}}, {"x": {f"k{n}": 1 for n in range(5_000)}}),
    ({"x": {"items": {"oneOf": [{"const": n} for n in range(100)]}}}, {"x": [f"v{n}" for n in range(9_000)]}),
    ({"x": {"items": {"enum": [[n] for n in range(5_000)]}}}, {"x": [[f"v{n}"] for n in range(3_000)]}),
]


@pytest.mark.parametrize(("properties", "args"), LARGE, ids=["names", "alternatives", "choices"])
def test_of_many_wrong_values_the_first_is_told(properties: dict[str, Any], args: dict[str, Any]) -> None:
    schema = ArgumentSchema({"properties": properties})
    begun = time.thread_time()
    _, errors = schema.check(args)
    assert len(errors) == 1
    # All of them took ten to fifty seconds.
    assert time.thread_time() - begun < 2
