"""Placeholders in the catalogue's texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plangate_client.executor.template import (
    ArgumentMissing,
    ArgumentRefused,
    Placeholder,
    Template,
    TemplateInvalid,
    Values,
)

VALUES = Values(
    {"name": "x y", "count": 3, "share": 0.5, "deep": {"host": "h"}, "yes": True, "none": None, "list": [1, "a"]},
    {"proposal.id": "0197", "python": "/usr/bin/python3"},
)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("--name={args.name}", "--name=x y"),
        ("{args.count}/{args.share}/{args.yes}", "3/0.5/true"),
        ("{args.deep.host}", "h"),
        ("{{literal}} {args.name}", "{literal} x y"),
        ("{args.list:json}", '[1,"a"]'),
        ("{args.name:json}", '"x y"'),
        ("{proposal.id}-{python}", "0197-/usr/bin/python3"),
    ],
)
def test_fills(source: str, text: str) -> None:
    assert Template.parse(source).fill(VALUES) == text


def test_all_arguments_as_json() -> None:
    assert Template.parse("{args:json}").fill(Values({"a": "ä\n"}, {})) == '{"a":"ä\\n"}'


@pytest.mark.parametrize(
    "source",
    [
        "{",
        "}",
        "a{b",
        "{args}",
        "{args.}",
        "{args.a b}",
        "{name}",
        "{args.a:text}",
        "{args*}",
        "{}",
        "{env.HOME}",
        "{args.a.}",
    ],
)
def test_refuses_what_is_no_template(source: str) -> None:
    with pytest.raises(TemplateInvalid):
        Template.parse(source)


@pytest.mark.parametrize("source", ["{args.absent}", "{args.none}", "{args.deep.port}", "{args.name.inner}"])
def test_names_what_is_missing(source: str) -> None:
    with pytest.raises(ArgumentMissing):
        Template.parse(source).fill(VALUES)


@pytest.mark.parametrize("source", ["{args.list}", "{args.deep}"])
def test_lists_and_objects_are_no_text(source: str) -> None:
    with pytest.raises(ArgumentRefused):
        Template.parse(source).fill(VALUES)


def test_refuses_nul() -> None:
    with pytest.raises(ArgumentRefused, match="NUL"):
        Template.parse("{args.a}").fill(Values({"a": "x\0y"}, {}))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert Template.parse("<{args.a}>").fill(Values({"a": value}, {})) == f"<{value}>"


@given(st.text())
def test_reading_never_crashes(source: str) -> None:
    try:
        template = Template.parse(source)
    except TemplateInvalid:
        return
    assert all(isinstance(part, str | Placeholder) for part in template.parts)
