"""Formats stated in words, and descriptions that state none or leave room for others."""

from __future__ import annotations

import re
import time

import pytest

from planner_service.generation.prompt.examples import Values
from planner_service.generation.reply.reply_grammar import grammar_schema
from planner_service.generation.reply.stated_format import stated_format


@pytest.mark.parametrize(
    ("description", "fitting", "unfit"),
    [
        ("The date, in the format 'YYYY-MM-DD'.", "2031-05-04", "May 4th"),
        ("Start of the trip (yyyy-mm-dd), such as '2023-04-15'", "2023-12-31", "2023-13-01"),
        ("The day, formatted as 'MM/DD/YYYY', e.g., '04/25/2023'.", "04/25/2023", "25/04/2023"),
        ("dd.mm.yyyy", "25.04.2023", "25-04-2023"),
        ("Month as YYYY-MM.", "2031-05", "2031-05-04"),
        ("Specific season in format 'YYYY-YYYY'.", "2020-2021", "2020"),
        ("Pick-up time in 24-hour format 'HH:MM' (e.g., '13:45' for 1:45 PM).", "13:45", "1:45 PM"),
        ("When: YYYY-MM-DD HH:MM:SS", "2031-05-04 14:30:59", "2031-05-04"),
        ("formatted as 'YYYY-MM-DD to YYYY-MM-DD'.", "2031-05-04 to 2031-05-05", "2031-05-04"),
        ("in the format of 'City, State', such as 'Berkeley, CA' or 'New York, NY'.", "New York, NY", "New York"),
        ("in the format of 'City, State' or 'City, Country'; for example", "Paris, France", "Paris"),
        ("the format 'Street Address, City, State'. For example", "1 Elm St, Troy, NY", "1 Elm St, Troy"),
        ("format: 'Last Name, First Name'", "Doe, Jane", "Jane Doe"),
    ],
)
def test_a_stated_format_becomes_a_pattern(description: str, fitting: str, unfit: str) -> None:
    stated = stated_format(description)
    assert stated is not None
    assert re.fullmatch(stated.pattern, fitting)
    assert not re.fullmatch(stated.pattern, unfit)
    schema = grammar_schema({"properties": {"value": {"type": "string", "description": description}}})
    assert schema["properties"]["value"]["pattern"] == stated.pattern
    assert re.fullmatch(stated.pattern, Values().of(schema["properties"]["value"])), "its example has that form"


@pytest.mark.parametrize(
    "description",
    [
        "",
        "The date of the flight. Accepts standard date format e.g., 2022-04-28.",
        "The type of information needed about the museum.",
        "YYYY-MM-DD or a word like tomorrow",
        "'YYYY-MM-DD', or 'MM/DD/YYYY'",
        "The time in HH:MM, such as 8:00 PM",
        "HH:MM with its time zone",
        "YYYY-MM-DDTHH:MM:SSZ",
        "Size in mm",
        "The format 'Name, Rank' or 'Name'",
        "A list such as 'City, State'",
        "the formats 'City, State' or 'City, State, Country'",
        "in the format of city name",
    ],
)
def test_what_states_no_format_or_several_is_left_alone(description: str) -> None:
    assert stated_format(description) is None


def test_words_that_may_stand_instead_of_it_are_allowed() -> None:
    argument = {"type": "string", "description": "As 'YYYY-MM-DD'. If set to 'dontcare', any.", "default": "today"}
    reduced = grammar_schema({"properties": {"date": argument}})["properties"]["date"]
    assert [one.get("const") for one in reduced["anyOf"]] == [None, "today", "dontcare"]
    assert "pattern" in reduced["anyOf"][0]


def test_a_format_as_the_value_itself_is_no_format_of_it() -> None:
    argument = {"type": "string", "description": "The format of dates, such as 'MM/DD/YYYY'.", "default": "MM/DD/YYYY"}
    assert grammar_schema({"properties": {"f": argument}})["properties"]["f"] == {"type": "string"}


def test_the_schema_has_the_last_word() -> None:
    said = {"type": "string", "description": "in the format 'YYYY-MM-DD'"}
    for keyword in ({"pattern": "^[a-z]+$"}, {"format": "date"}, {"enum": ["now"]}):
        reduced = grammar_schema({"properties": {"d": {**said, **keyword}}})["properties"]["d"]
        assert "pattern" not in reduced or reduced["pattern"] == "^[a-z]+$"


def test_of_a_long_description_the_beginning_is_read() -> None:
    assert stated_format("in the format 'YYYY-MM-DD'" + " and so on" * 100_000) is not None
    assert stated_format("and so on " * 100_000 + "in the format 'YYYY-MM-DD'") is None
    # None of these makes the patterns try everything with everything.
    started = time.thread_time()
    for text in ("format 'A, ", "format " + "'A B, " * 3, "YYYY-", "YYYY-MM-DD or ", "Aa "):
        assert stated_format((text * 100_000)[:1_000_000]) is None
    assert time.thread_time() - started < 2
