"""The filter language: what it accepts, what it says about what it refuses, and that nothing makes it fall over."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_service.filters import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    And,
    Comparison,
    Expression,
    Field,
    InvalidFilter,
    Kind,
    Not,
    Operator,
    Or,
    parse,
    predicate,
)

FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.TEXT),
    "priority": Field(Kind.INTEGER),
    "create_time": Field(Kind.TIME),
    "state": Field(Kind.NAME, {"PENDING": "PENDING", "STATE_PENDING": "PENDING", "DRAFT": "DRAFT"}),
    "labels": Field(Kind.LABELS),
    "args": Field(Kind.ARGUMENTS),
    "text": Field(Kind.SEARCH),
}


def equal(field: str, value: str | int, key: str | None = None) -> Comparison:
    return Comparison(field, Operator.EQUAL, value, key)


def has(field: str, *values: str) -> Or:
    return Or(tuple(Comparison(field, Operator.HAS, value) for value in values))


def members(member: str, ends: str = "") -> list[str]:
    return [f"{begin}{member}{end}" for begin in "{," for end in ends or [""]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("   ", None),
        ("id = abc", equal("id", "abc")),
        ("id='a b'", equal("id", "a b")),
        (r'id = "a\"b\\"', equal("id", 'a"b\\')),
        ("id = 0197-x.y:z/w", equal("id", "0197-x.y:z/w")),
        ("priority >= -5", Comparison("priority", Operator.GREATER_OR_EQUAL, -5)),
        ("state = STATE_PENDING", equal("state", "PENDING")),
        ("create_time < 1970-01-01T00:00:01.5Z", Comparison("create_time", Operator.LESS, 1_500_000)),
        ("create_time < '1970-01-01T01:00:00+01:00'", Comparison("create_time", Operator.LESS, 0)),
        ('labels.team = "ops"', equal("labels", "ops", "team")),
        ("labels.a.b-c=x", equal("labels", "x", "a.b-c")),
        ('labels."a.b" = x', equal("labels", "x", "a.b")),
        ('args.x = "1"', has("args", '{"x":"1"', ',"x":"1"')),
        ("args.x != true", Not(has("args", '{"x":"true"', ',"x":"true"', '{"x":true', ',"x":true'))),
        ('args."a.b" = 1e2', has("args", *members('"a.b":"1e2"'), *members('"a.b":100', ",}"))),
        ("args.x = 9007199254740993", has("args", *members('"x":"9007199254740993"'))),
        ("text:a", Comparison("text", Operator.HAS, "a")),
        ("text : 'a b'", Comparison("text", Operator.HAS, "a b")),
        ("NOT id = a", Not(equal("id", "a"))),
        ("id = a AND id = b OR id = c", And((equal("id", "a"), Or((equal("id", "b"), equal("id", "c")))))),
        ("(id = a AND id = b) OR id = c", Or((And((equal("id", "a"), equal("id", "b"))), equal("id", "c")))),
    ],
)
def test_what_is_read(text: str, expected: Expression | None) -> None:
    assert parse(text, FIELDS) == expected


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("nope = 1", 0, "no such field: 'nope'"),
        ("id", 2, "found the end"),
        ("id =", 4, "expected a value, found the end"),
        ("id = a id = b", 7, "expected AND or OR"),
        ("id ~ a", 3, "expected one of ="),
        ("id = 'a", 5, "does not end"),
        ("(id = a", 7, "expected )"),
        ("id = a)", 6, "expected AND or OR"),
        ("id = a AND", 10, "found the end"),
        ("AND", 0, "expected the name of a field"),
        ("id = AND", 5, "expected a value"),
        ("priority = 1.5", 11, "whole number"),
        ("priority = 99999999999999999999", 11, "whole number"),
        ("priority = 9223372036854775808", 11, "whole number"),
        ("state < PENDING", 6, "by = and != only"),
        ("state = NOPE", 8, "expected one of PENDING, DRAFT"),
        ("create_time > yesterday", 14, "expected a time"),
        ("create_time > 2026-13-01T00:00:00Z", 14, "expected a time"),
        ("labels = a", 0, "no such field"),
        ("id.x = a", 0, "no such field"),
        ("labels.UPPER = a", 0, "a label's key"),
        ("labels. 'x' = a", 8, "right behind the dot"),
        ("args.x > 1", 7, "by = and != only"),
        ("args = 1", 0, "no such field"),
        ("args.'a\x00' = 1", 12, "no argument can have"),
        ("text = a", 5, "expected a colon"),
        ("text:", 5, "expected a value"),
        ("id:a", 0, "not searched by :; text is"),
        ("id = 'a\x00'", 5, "null"),
        ("id = a" + " " * 5000, 4096, "at most 4096 characters"),
    ],
)
def test_what_is_refused_and_where(text: str, position: int, problem: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse(text, FIELDS)
    assert refused.value.position == position
    assert problem in refused.value.problem


def test_depth_and_length_are_bounded() -> None:
    assert parse("NOT " * (MAX_DEPTH - 1) + "id = a", FIELDS)
    with pytest.raises(InvalidFilter, match="nested deeper"):
        parse("NOT " * 1000 + "id = a", FIELDS)
    with pytest.raises(InvalidFilter, match="nested deeper"):
        parse("(" * 1000 + "id = a", FIELDS)
    assert parse(" OR ".join(["id = a"] * MAX_COMPARISONS), FIELDS)
    with pytest.raises(InvalidFilter, match="comparisons"):
        parse(" OR ".join(["id = a"] * (MAX_COMPARISONS + 1)), FIELDS)


@given(st.text(alphabet=st.sampled_from("id= ()\"'\\<>!ANDORT.labelsargtext:1\x00é"), max_size=60))
def test_nothing_but_the_typed_error_comes_out(text: str) -> None:
    refused = None
    try:
        parse(text, FIELDS)
    except InvalidFilter as error:
        refused = error
    assert refused is None or 0 <= refused.position <= len(text)


@given(st.text(st.characters(exclude_characters="\x00"), max_size=40))
def test_any_text_can_be_quoted(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'id = "{quoted}"', FIELDS) == equal("id", text)


def test_predicate() -> None:
    values = {("id", None): "b", ("priority", None): 3, ("labels", "team"): "ops", ("labels", "x"): ""}

    def matches(text: str) -> bool:
        expression = parse(text, FIELDS)
        assert expression
        return predicate(expression, lambda field, key: values[(field, key)])

    assert matches("id = b AND priority > 2 AND labels.team = ops")
    assert matches("id = a OR NOT priority >= 4")
    assert matches("labels.x = ''")
    assert not matches("id != b")
    assert matches("id >= a AND id <= c AND id < c")
