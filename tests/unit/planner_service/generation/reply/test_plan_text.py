"""The one plan object of a reply's text, or none."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from planner_service.generation.reply.plan_text import (
    NoPlanObject,
    SeveralPlanObjects,
    plan_object,
    without_thoughts,
)

PLAN = {"jobs": [{"action_name": "a", "action_args": {"x": 1}}]}
OTHER = {"jobs": [{"action_name": "b", "action_args": {}}]}
TEXT, OTHER_TEXT = json.dumps(PLAN), json.dumps(OTHER)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "looked_for"),
    [
        (TEXT, False),
        (f"```json\n{TEXT}\n```", True),
        (f"Sure: {TEXT} Done.", True),
        (f"[{TEXT}]", True),
        (f"{{not json}} {TEXT}", True),
        (f'{{"note": 1}} {TEXT}', True),
        (f"{TEXT}\n{TEXT}", True),
        (f"<think>{OTHER_TEXT}</think>{TEXT}", True),
        (f"{OTHER_TEXT}</think>\n</think>{TEXT}", True),
        (f"<seed:think>{OTHER_TEXT}</seed:think>{TEXT}", True),
        (TEXT[:-2], True),
    ],
)
async def test_the_one_plan_is_found(text: str, looked_for: bool) -> None:
    assert await plan_object(text) == (PLAN, looked_for)


@pytest.mark.asyncio
async def test_a_mark_within_a_value_ends_no_thoughts() -> None:
    plan = {"jobs": [{"action_name": "say", "action_args": {"text": "close with </think> and go on"}}]}
    assert await plan_object(json.dumps(plan)) == (plan, False)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        f"{TEXT}{OTHER_TEXT}",
        f"{TEXT} or {OTHER_TEXT[:-1]}",
        f"{TEXT[:-1]} or {OTHER_TEXT[:-1]}",
        f'{{"jobs": [], {TEXT[1:]}',
        '{"jobs": [{"action_name": "a", "action_args": {"x": 1, "x": 2}}]}',
    ],
)
async def test_never_the_first_of_several(text: str) -> None:
    with pytest.raises(SeveralPlanObjects):
        await plan_object(text)


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["", "no", "[1, 2]", "7", f"<think>{TEXT}", f"{TEXT}</think>", "[THINK]" + TEXT])
async def test_no_plan_is_made_up(text: str) -> None:
    with pytest.raises(NoPlanObject):
        await plan_object(text)


@pytest.mark.parametrize("text", ["plain", "a < b </b>", "the /think command"])
def test_what_holds_no_thoughts_stays(text: str) -> None:
    assert without_thoughts(text) == text


HOSTILE = ["{" * 400_000, '{"a":' * 100_000, "</think>" * 100_000, "{}" * 400_000, "<think " * 9_999]


@pytest.mark.asyncio
@pytest.mark.parametrize("text", HOSTILE, ids=["braces", "nested", "marks", "objects", "tags"])
async def test_hostile_texts_are_read_in_bounded_time(text: str) -> None:
    began = time.process_time()
    found: dict[str, Any] = {}
    with contextlib.suppress(NoPlanObject, SeveralPlanObjects):
        found, _ = await plan_object(text)
    assert "jobs" not in found
    assert time.process_time() - began < 3
