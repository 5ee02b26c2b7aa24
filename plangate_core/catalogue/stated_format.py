"""Formats that an argument's description states in words: "in the format 'YYYY-MM-DD'", "formatted as 'City, State'".

Only a `pattern` is checked, and only a pattern holds a model to it. `check` advises to write the one given here.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PARTS = {
    "yyyy": "(19|20|21)[0-9]{2}",
    "mm": "(0[1-9]|1[0-2])",
    "dd": "(0[1-9]|[12][0-9]|3[01])",
    "hh": "([01][0-9]|2[0-3])",
    "ss": "[0-5][0-9]",
}
_MINUTES = "[0-5][0-9]"
_PART = r"(?:[Yy]{4}|MM|mm|DD|dd|HH|hh|SS|ss)"
# Two parts at least, and no letter or digit at either end: YYYYMMDD alone is rare, and "ss" or "mm" is no format.
_DATE = re.compile(rf"(?<![\w-]){_PART}(?:(?:[-/:.]|(?<=[Dd])[ T](?=[Hh])){_PART})+(?![\w:/-]|\.\w)")
_NAME = "[A-Z][a-z]+(?: [A-Z][a-z]+)*"
_NAMES = rf"['\"]({_NAME}(?:, {_NAME})+)['\"]"
_LIST = re.compile(rf"\bformat\w*\b[^.'\"]{{0,24}}{_NAMES}")
_ANOTHER_LIST = re.compile(rf",? or (?:in )?{_NAMES}")
_RANGE = re.compile(r"\A to \Z")
# "YYYY-MM-DD or tomorrow": a pattern made of the first part would refuse the second.
_OPEN = re.compile(r"\A['\")]*,? (?:or|and/or)\b|12-hour|time ?zone|offset|relative", re.IGNORECASE)
_HALF_DAYS = re.compile(r"\b[ap]\.?m\b", re.IGNORECASE)
_LIST_PART = r'[^,"\\\n\r\t]+'
_MAX_DESCRIPTION = 1000


@lru_cache(maxsize=4096)
def stated_pattern(description: str) -> str | None:
    """The anchored pattern of the one format that a description states.

    None when it states none or several, or leaves room for others.
    """
    description = description[:_MAX_DESCRIPTION]
    return _date_or_time(description) or _comma_list(description)


def _date_or_time(description: str) -> str | None:
    found = list(_DATE.finditer(description))
    if not found or len({match.group() for match in found}) > 1:
        return None
    first = found[0]
    if any(_OPEN.search(description[match.end() :]) for match in found):
        return None
    if _HALF_DAYS.search(description) and "24" not in description:
        return None
    pattern = _pattern_of(first.group())
    if len(found) > 1 and _RANGE.match(description[first.end() : found[1].start()]):
        pattern = f"{pattern} to {pattern}"
    return f"^{pattern}$"


def _pattern_of(placeholder: str) -> str:
    written = ""
    parts = re.findall(_PART, placeholder)
    between = re.split(_PART, placeholder)[1:]
    for position, (part, mark) in enumerate(zip(parts, between, strict=True)):
        # "mm" is a month next to a year or a day, and minutes after hours.
        is_minutes = part.lower() == "mm" and position > 0 and parts[position - 1].lower() == "hh"
        written += _MINUTES if is_minutes else _PARTS[part.lower()]
        written += re.escape(mark) if mark == "." else mark
    return written


def _comma_list(description: str) -> str | None:
    first = _LIST.search(description)
    if first is None:
        return None
    lists, rest = [first.group(1)], description[first.end() :]
    while another := _ANOTHER_LIST.match(rest):
        lists.append(another.group(1))
        rest = rest[another.end() :]
    counts = {one.count(",") + 1 for one in lists}
    if len(counts) > 1 or _OPEN.match(rest):
        return None
    return f"^{_LIST_PART}(, {_LIST_PART}){{{counts.pop() - 1}}}$"
