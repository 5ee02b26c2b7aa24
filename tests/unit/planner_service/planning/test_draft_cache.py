"""How much the cache of drafts keeps."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner_service.generation.reply.draft import JobDraft, PlanDraft
from planner_service.planning.draft_cache import CachedDraft, DraftCache

DRAFT = CachedDraft(PlanDraft("x", (JobDraft("look", {"thing": "x"}),)), "openai/m", "1")


def answer(name: bytes, args: bytes, depends_on: bytes) -> bytes:
    """An answer as a file has it."""
    return (
        b'{"draft": {"objective": "", "jobs": [{"action_name": %s, "action_args": %s, "depends_on": %s}]}, '
        b'"model": "m", "prompt_template_version": "1"}' % (name, args, depends_on)
    )


@pytest.mark.asyncio
async def test_a_whole_file_is_an_answer(tmp_path: Path) -> None:
    cache = DraftCache(max_bytes=100_000, directory=tmp_path)
    (tmp_path / "a.json").write_bytes(answer(b'"look"', b'{"n": 1, "x": 1.0}', b"[0]"))
    assert await cache.get("a") == CachedDraft(PlanDraft("", (JobDraft("look", {"n": 1, "x": 1.0}, (0,)),)), "m", "1")


@pytest.mark.asyncio
async def test_what_cannot_be_stored_is_not_kept(tmp_path: Path) -> None:
    cache = DraftCache(max_bytes=100_000, directory=tmp_path)
    await cache.put("a", CachedDraft(PlanDraft("\ud800", (JobDraft("look", {}),)), "m", "1"))
    assert await cache.get("a") is None
    assert await DraftCache(max_bytes=100_000, directory=tmp_path).get("a") is None


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
    [
        b"",
        b"\xff",
        b"null",
        answer(b'"look"', b"{}", b"[1e999]"),
        answer(b'"look"', b"{}", b"[%s]" % (b"9" * 5_000)),
        answer(b'"look\\ud800"', b"{}", b"[]"),
        answer(b'"look"', b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"[]"),
        b'{"draft": {"objective": "", "jobs": []}, "model": "m", "prompt_template_version": "1"}',
    ],
)
async def test_a_damaged_file_is_an_answer_that_was_never_kept(tmp_path: Path, damage: bytes) -> None:
    cache = DraftCache(max_bytes=100_000, directory=tmp_path)
    (tmp_path / "a.json").write_bytes(damage)
    assert await cache.get("a") is None
    await cache.put("a", DRAFT)
    assert await DraftCache(max_bytes=100_000, directory=tmp_path).get("a") == DRAFT


KILLED_WHILE_IT_WRITES = """
import asyncio, resource, signal, sys
from pathlib import Path
from planner_service.planning.draft_cache import CachedDraft, DraftCache
from planner_service.generation.reply.draft import JobDraft, PlanDraft

cache = DraftCache(max_bytes=100_000, directory=Path(sys.argv[1]))
# The system ends who writes a file beyond the limit.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
draft = PlanDraft("x", (JobDraft("look", {"thing": "x" * 2_000}),))
asyncio.run(cache.put("a", CachedDraft(draft, "openai/m", "1")))
"""


def test_what_a_killed_planner_left_half_written_is_removed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(tmp_path)], timeout=30, check=False)
    assert killed.returncode == -signal.SIGXFSZ
    [half_written] = tmp_path.iterdir()
    strangers = [tmp_path / ".theirs.tmp", tmp_path / ".draft-notes"]
    for stranger in strangers:
        touch_long_ago(stranger)

    cache = DraftCache(max_bytes=100_000, directory=tmp_path)
    assert half_written.exists(), "another planner may be writing it"
    touch_long_ago(half_written)
    asyncio.run(cache.put("b", DRAFT))
    assert sorted(tmp_path.iterdir()) == sorted([*strangers, tmp_path / "b.json"])

    touch_long_ago(half_written)
    DraftCache(max_bytes=100_000, directory=tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*strangers, tmp_path / "b.json"])


def test_what_is_no_file_does_not_keep_the_oldest_answers_from_being_removed(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    for name in ("old.json", "new.json"):
        (tmp_path / name).touch()
    touch_long_ago(tmp_path / "old.json")
    DraftCache(max_bytes=100_000, directory=tmp_path, max_files=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "dangling.json", "new.json"]


def touch_long_ago(path: Path) -> None:
    """Make it as old as what nobody writes any more."""
    path.touch()
    os.utime(path, times=(time.time() - 4_000,) * 2)
