"""Schemas as OpenAPI 3.0, draft 4 and code generators write them load, and mean what their authors meant."""

from __future__ import annotations

from typing import Any

import pytest

from plangate_core.catalogue.catalogue import Catalogue, CatalogueInvalid, parse_catalogue


def catalogue_with(argument: str, more: str = "") -> Catalogue:
    return parse_catalogue(
        "version: 1\nactions:\n- name: a\n  description: b\n  parameters:\n"
        f"    type: object\n{more}    properties:\n      x: {argument}\n"
    )


def fits(catalogue: Catalogue, value: Any) -> bool:
    return not catalogue.check_args(catalogue.actions[0], {"x": value})[1]


@pytest.mark.parametrize(
    ("argument", "fitting", "unfit"),
    [
        ("{type: integer, minimum: 0, maximum: 9223372036854775807}", 5, -1),
        ("{type: integer, minimum: -9223372036854775808, maximum: 10}", -5, 11),
        ("{type: integer, minimum: 0, maximum: 18446744073709551615}", 5, -1),
        ("{type: number, minimum: -1.7976931348623157e+308, maximum: 1.7976931348623157e308}", 5, "5"),
        ("{type: integer, minimum: 0, exclusiveMaximum: 9223372036854775808}", 5, -1),
        (f"{{type: integer, minimum: 0, maximum: {'9' * 5_000}}}", 5, -1),
        ("{type: string, minLength: 1, maxLength: 9223372036854775807}", "a", ""),
        ("{type: array, minItems: 1, maxItems: 9007199254740992}", [1], []),
    ],
)
def test_a_bound_that_nothing_reaches_is_none(argument: str, fitting: Any, unfit: Any) -> None:
    catalogue = catalogue_with(argument)
    assert fits(catalogue, fitting)
    assert not fits(catalogue, unfit)
    assert catalogue.warnings == ()
    assert not any(
        isinstance(bound, (int, float)) and abs(bound) >= 2**53
        for bound in catalogue.actions[0].parameters["properties"]["x"].values()
    )


@pytest.mark.parametrize(
    ("argument", "column"),
    [
        ("{type: integer, minimum: 9223372036854775807}", 35),
        ("{type: integer, maximum: -9223372036854775808}", 35),
        ("{const: 9223372036854775807}", 18),
        ("{enum: [1, 9223372036854775807]}", 21),
        ("{default: 9223372036854775807}", 20),
    ],
)
def test_a_number_that_would_be_rounded_is_refused_with_the_way_out(argument: str, column: int) -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        catalogue_with(argument)
    assert (caught.value.line, caught.value.column) == (8, column)
    assert "write it as text, in quotes, of type string" in caught.value.message


def test_numbers_with_exponents_are_numbers() -> None:
    catalogue = catalogue_with("{type: number, enum: [1e-05, 1E+2, .5e1, 0.25], default: 1e-05}")
    assert catalogue.actions[0].parameters["properties"]["x"] == {
        "type": "number",
        "enum": [1e-05, 100.0, 5.0, 0.25],
        "default": 1e-05,
    }
    assert catalogue.check_args(catalogue.actions[0], {}) == ({"x": 1e-05}, [])
    assert catalogue.warnings == ()
    assert catalogue_with("{enum: ['1e5', \"2e5\", 1e5x]}").actions[0].parameters["properties"]["x"]["enum"] == [
        "1e5",
        "2e5",
        "1e5x",
    ]


def test_json_is_read_as_json() -> None:
    catalogue = parse_catalogue(
        '# generated\n{\n\t"version": 1,\n\t"actions": [{"name": "a", "description": "\\ud83d\\ude80 \\\\ud83d go",'
        ' "parameters": {"properties": {"x": {"enum": [1e-05, "=", "<<", "no"]}}}}]}'
    )
    assert catalogue.actions[0].description == "\U0001f680 \\ud83d go"
    assert catalogue.actions[0].parameters["properties"]["x"]["enum"] == [1e-05, "=", "<<", "no"]


def test_operators_may_stand_without_quotes() -> None:
    assert catalogue_with("{enum: [=, <<, '!=']}").actions[0].parameters["properties"]["x"]["enum"] == ["=", "<<", "!="]


@pytest.mark.parametrize(
    ("argument", "read", "note"),
    [
        (
            "{type: integer, minimum: 1, maximum: 250, exclusiveMaximum: true}",
            {"type": "integer", "minimum": 1, "exclusiveMaximum": 250},
            "8:70: actions.0.parameters.properties.x.exclusiveMaximum: read as exclusiveMaximum: 250, as draft 4 and "
            "OpenAPI 3.0 mean it",
        ),
        (
            "{type: number, minimum: 0, exclusiveMinimum: true}",
            {"type": "number", "exclusiveMinimum": 0},
            "exclusiveMinimum: 0",
        ),
        ("{type: integer, maximum: 5, exclusiveMaximum: false}", {"type": "integer", "maximum": 5}, ""),
        ("{type: integer, exclusiveMaximum: true}", {"type": "integer"}, "means nothing without maximum"),
        ("{type: integer, maximum: 9223372036854775807, exclusiveMaximum: true}", {"type": "integer"}, ""),
        ("{items: {maximum: 5, exclusiveMaximum: true}}", {"items": {"exclusiveMaximum": 5}}, "x.items.exclusiveMax"),
    ],
)
def test_bounds_of_draft_4_and_openapi_are_read(argument: str, read: dict[str, Any], note: str) -> None:
    catalogue = catalogue_with(argument)
    assert catalogue.actions[0].parameters["properties"]["x"] == read
    assert len(catalogue.warnings) == (1 if note else 0)
    assert all(note in warning for warning in catalogue.warnings)


def test_draft_4_itself_is_left_as_it_is() -> None:
    catalogue = catalogue_with(
        "{maximum: 3, exclusiveMaximum: true}", '    $schema: "http://json-schema.org/draft-04/schema#"\n'
    )
    assert fits(catalogue, 2)
    assert not fits(catalogue, 3)
    assert catalogue.warnings == ()


@pytest.mark.parametrize(
    ("argument", "fitting", "unfit"),
    [
        ("{type: string, nullable: true}", [None, "a"], [1]),
        ("{type: string, enum: [a, b], nullable: true}", [None, "a"], ["c"]),
        ("{type: [string, integer], nullable: true}", [None, "a", 1], [True]),
        ("{allOf: [{$ref: '#/$defs/host'}], nullable: true}", [None, {"name": "a"}], [{}]),
        ("{$ref: '#/$defs/host', nullable: true}", [None, {"name": "a"}], [{}]),
        ("{oneOf: [{type: string}, {type: integer}], nullable: true}", [None, "a", 1], [True]),
        ("{type: array, items: {type: string, nullable: true}}", [["a", None]], [None, [1]]),
    ],
)
def test_nullable_takes_null(argument: str, fitting: list[Any], unfit: list[Any]) -> None:
    host = "    $defs: {host: {type: object, properties: {name: {type: string}}, required: [name]}}\n"
    catalogue = catalogue_with(argument, host)
    assert all(fits(catalogue, value) for value in fitting)
    assert not any(fits(catalogue, value) for value in unfit)
    [warning] = catalogue.warnings
    assert warning.endswith("nullable: read as OpenAPI 3.0 means it: null is accepted")


def test_not_nullable_says_nothing() -> None:
    catalogue = catalogue_with("{type: string, nullable: false}")
    assert not fits(catalogue, None)
    assert catalogue.warnings == ()
