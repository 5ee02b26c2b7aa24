"""Finds the one plan object in a reply's text: past a model's thoughts, fences and words around it.

Never the first of several: two different plans in one reply, or two values under one name, are an invalid reply.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from planner_service.generation.reply.repair import repaired_object

_NAMES = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|inner[_ ]monologue)"
_THOUGHTS_END = re.compile(
    rf"<\s*/\s*{_NAMES}\s*>"  # DeepSeek, Qwen and most others
    r"|\[/THINK\]"  # Mistral
    r"|◁/think▷"  # Kimi
    r"|<\|\s*(?:/think(?:ing)?|end_of_(?:thought|thinking)|end_?thinking)\s*\|>"  # Cohere and others
    r"|<\|channel\|>\s*final\b[^<]{0,80}<\|message\|>",  # gpt-oss
    re.IGNORECASE,
)
_THOUGHTS_BEGIN = re.compile(
    rf"\A\s*(?:<\s*{_NAMES}\s*>|\[THINK\]|◁think▷|<\|\s*(?:think(?:ing)?|begin_of_thought|start_?thinking)\s*\|>"
    r"|<\|channel\|>\s*analysis\b)",
    re.IGNORECASE,
)
_PLAN_KEY = '"jobs"'
_MOST_OBJECTS = 64
_LONGEST_MARK = 40


class NoPlanObject(Exception):
    """The text holds no JSON object that could be a plan."""


class SeveralPlanObjects(Exception):
    """Which of several plans is meant is open."""


async def plan_object(text: str) -> tuple[dict[str, Any], bool]:
    """The object that the text means as the plan, and whether it had to be looked for or repaired.

    Raises NoPlanObject, SeveralPlanObjects.
    """
    try:
        whole = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        return whole, False
    text = without_thoughts(text)
    found, between = _objects(text)
    plans = [each for each in found if "jobs" in each]
    if any(each != plans[0] for each in plans) or (plans and _PLAN_KEY in between):
        raise SeveralPlanObjects
    if plans:
        return plans[0], True
    if text.count(_PLAN_KEY) > 1:
        raise SeveralPlanObjects
    repaired = await repaired_object(text)
    if repaired is None:
        raise NoPlanObject
    return repaired, True


def without_thoughts(text: str) -> str:
    """What stands after the last mark that ends a model's thinking; nothing when it never ended."""
    ends = [mark.end() for mark in _THOUGHTS_END.finditer(text)]
    if ends:
        return text[ends[-1] :]
    return "" if _THOUGHTS_BEGIN.match(text) else text


def reply_start(text: str, searched: int = 0) -> int | None:
    """Where the reply begins in a text that is still being written: 0, or behind the thoughts that it begins with.

    None while that is open. `searched`: so many characters were looked at before.
    """
    beginning = text[:_LONGEST_MARK].lstrip()
    if not beginning or (beginning[0] in "<[\u25c1" and len(text) < _LONGEST_MARK):
        return None
    if not _THOUGHTS_BEGIN.match(text):
        return 0
    end = _THOUGHTS_END.search(text, max(0, searched - _LONGEST_MARK))
    return None if end is None else end.end()


def _objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects that the text holds one after the other, and what stands between them."""
    found: list[dict[str, Any]] = []
    between: list[str] = []
    decoder = json.JSONDecoder(object_pairs_hook=_once_each)
    position = 0
    # Within reason: each is read to where it breaks off.
    for brace in islice(re.finditer("{", text), _MOST_OBJECTS):
        start = brace.start()
        if start < position:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        found.append(value)
        between.append(text[position:start])
        position = end
    return found, "".join([*between, text[position:]])


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs) and any(made[name] != value for name, value in pairs):
        raise SeveralPlanObjects
    return made
