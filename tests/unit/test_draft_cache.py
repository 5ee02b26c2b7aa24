"""How much the cache of drafts keeps."""

from __future__ import annotations

import hashlib

import pytest

from planner_service.draft_cache import CachedDraft, DraftCache
from planner_service.generation.draft import JobDraft, PlanDraft

DRAFT = CachedDraft(PlanDraft("x", (JobDraft("look", {"thing": "x"}),)), "openai/m", "1")


@pytest.mark.asyncio
async def test_small_answers_count_with_what_keeping_them_takes() -> None:
    cache = DraftCache(max_bytes=100_000)
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(1_000)]
    for key in [*keys, *keys[-10:]]:
        await cache.put(key, DRAFT)
    kept = [key for key in keys if await cache.get(key) == DRAFT]
    assert 200 < len(kept) < 400
    assert kept == keys[-len(kept) :], "the oldest go first"


@pytest.mark.asyncio
async def test_an_answer_larger_than_the_cache_is_not_kept() -> None:
    cache = DraftCache(max_bytes=100)
    await cache.put("a", DRAFT)
    assert await cache.get("a") is None
