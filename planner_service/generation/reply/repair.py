"""JSON that is almost right is mended before it counts as a failure: fences, trailing commas, quotes, brackets.

What holds values together is mended, never a value: the /var/lo of a reply that stopped there, or nothing in place of
an unquoted /var/log, would be another order than the one that was meant. Each text and number of what came of it must
stand in the reply, whole.

json_repair's time grows with the square of hostile input (16 KB of alternating quotes take 8 s), so what it is given is
bounded in length and nesting, and longer pieces are repaired beside the event loop.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import json_repair

MAX_REPAIRED = 8_192
"""Characters of a reply that is still repaired: plans are seldom longer, and at worst it takes a second."""
MAX_NESTING = 40
"""Brackets open at once in a reply that is still repaired."""
_INLINE = 1_024

_FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.+-])-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?=\s*[,}\]])")
_CONSTANT = re.compile(r"\b(?:true|false|null|none)\b", re.IGNORECASE)


async def repaired_object(text: str) -> dict[str, Any] | None:
    """The JSON object that was meant, or None when there is no telling.

    Text around one object is dropped. Closing brackets may be missing at the end; what stops anywhere else is refused.
    """
    if (fenced := _FENCE.search(text)) is not None:
        text = fenced.group(1)
    start = text.find("{")
    if start < 0:
        return None
    text = text[start:]
    try:
        value = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        if len(text) > MAX_REPAIRED or _nesting(text) > MAX_NESTING or _stops_within(text):
            return None
        value = _mend(text) if len(text) <= _INLINE else await asyncio.to_thread(_mend, text)
    return value if isinstance(value, dict) else None


def _mend(text: str) -> Any:
    try:
        value = json_repair.loads(text)
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    numbers = {float(number) for number in _NUMBER.findall(text)}
    return value if _is_stated(value, text, numbers) else None


def _stops_within(text: str) -> bool:
    """Whether brackets are open at the end, and something else than a bracket came last."""
    bare = _STRING.sub("", text)
    if sum(1 if bracket in "{[" else -1 for bracket in _BRACKET.findall(bare)) <= 0:
        return False
    return not text.rstrip("` \t\r\n").endswith(("}", "]"))


def _is_stated(value: Any, text: str, numbers: set[float]) -> bool:
    """Whether all values within are there in the text, each from its first to its last character."""
    if isinstance(value, dict):
        return all(_is_stated(member, text, numbers) for member in value.values())
    if isinstance(value, list):
        return all(_is_stated(element, text, numbers) for element in value)
    if isinstance(value, str):
        plain = json.dumps(value, ensure_ascii=False)[1:-1]
        spellings = {value, plain, json.dumps(value)[1:-1], value.replace("'", "\\'"), plain.replace("'", "\\'")}
        return any(f"{quote}{spelling}{quote}" in text for quote in "\"'" for spelling in spellings)
    if value is None or isinstance(value, bool):
        return _CONSTANT.search(text) is not None
    return float(value) in numbers


def _nesting(text: str) -> int:
    """Brackets open at once, at most, those within strings included: a bound is all that is needed."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket.group() in "{[" else -1
        deepest = max(deepest, depth)
    return deepest
