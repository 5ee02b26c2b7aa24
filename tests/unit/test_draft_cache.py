"""How much the cache of drafts keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path

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


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff", b"null", b'{"jobs": [["look", {}, [1e999]]]}', b'{"jobs": [["look", {}, [%s]]]}' % (b"9" * 5_000)],
)
async def test_a_damaged_file_is_an_answer_that_was_never_kept(tmp_path: Path, damage: bytes) -> None:
    cache = DraftCache(max_bytes=100_000, directory=tmp_path)
    rest = b', "objective": "", "no_action_reason": "", "model": "m", "prompt_template_version": "1"}'
    (tmp_path / "a.json").write_bytes(damage.replace(b"]]]}", b"]]]" + rest))
    assert await cache.get("a") is None
    await cache.put("a", DRAFT)
    assert await DraftCache(max_bytes=100_000, directory=tmp_path).get("a") == DRAFT
