"""Formats stated in words, and descriptions that state none or leave room for others."""

from __future__ import annotations

import re
import time

import pytest

from plangate_core.catalogue.stated_format import stated_pattern


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
    pattern = stated_pattern(description)
    assert pattern is not None
    assert re.fullmatch(pattern, fitting)
    assert not re.fullmatch(pattern, unfit)


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
    assert stated_pattern(description) is None


def test_of_a_long_description_the_beginning_is_read() -> None:
    assert stated_pattern("in the format 'YYYY-MM-DD'" + " and so on" * 100_000) is not None
    assert stated_pattern("and so on " * 100_000 + "in the format 'YYYY-MM-DD'") is None
    # None of these makes the patterns try everything with everything.
    started = time.thread_time()
    for text in ("format 'A, ", "format " + "'A B, " * 3, "YYYY-", "YYYY-MM-DD or ", "Aa "):
        assert stated_pattern((text * 100_000)[:1_000_000]) is None
    assert time.thread_time() - started < 2
