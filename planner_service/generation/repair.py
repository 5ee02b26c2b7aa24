"""JSON that is almost right is mended before it counts as a failure: fences, trailing commas, quotes, brackets.

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
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]")


async def repaired_object(text: str) -> dict[str, Any] | None:
    """The JSON object that was meant, or None when there is no telling.

    Text around one object is dropped. A reply that stops in the middle is completed as far as it goes, so never pass
    one that is known to be cut off.
    """
    text = _THINKING.sub("", text)
    if (fenced := _FENCE.search(text)) is not None:
        text = fenced.group(1)
    start = text.find("{")
    if start < 0:
        return None
    text = text[start:]
    try:
        value = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        if len(text) > MAX_REPAIRED or _nesting(text) > MAX_NESTING:
            return None
        value = _mend(text) if len(text) <= _INLINE else await asyncio.to_thread(_mend, text)
    return value if isinstance(value, dict) else None


def _mend(text: str) -> Any:
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError, LookupError, TypeError):
        return None


def _nesting(text: str) -> int:
    """Brackets open at once, at most, those within strings included: a bound is all that is needed."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket.group() in "{[" else -1
        deepest = max(deepest, depth)
    return deepest
