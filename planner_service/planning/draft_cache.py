"""Answers of models, kept for requests that are exactly the same: a repeat costs nothing and says the same bytes.

Kept are drafts, before policy: a decision also depends on who asks and when, and is made anew each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from plangate_core.process.regular_file import read_regular_file
from planner_service.generation.reply.draft import PlanDraft

_PRUNE_EVERY = 64
_UNFINISHED_PREFIX, _UNFINISHED_SUFFIX = ".draft-", ".tmp"
# Younger ones may be another planner's; a write takes milliseconds.
_UNFINISHED_SECONDS = 3_600.0
# What the key and the entry take in memory beside the answer itself.
_ENTRY_BYTES = 220

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CachedDraft:
    """A draft that passed the checks, and which model gave it under which template."""

    draft: PlanDraft
    model: str
    prompt_template_version: str


_CACHED_DRAFT = TypeAdapter(CachedDraft)


def draft_key(*parts: Any) -> str:
    """SHA-256 (hex) of everything that an answer depends on."""
    # Not RFC 8785, whose writer takes ten times as long: these keys stay in this process and its directory.
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class DraftCache:
    """Least recently used go first. On disk too when there is a directory, one file an answer, shared by processes."""

    def __init__(self, *, max_bytes: int, directory: Path | None = None, max_files: int = 10_000) -> None:
        """`max_bytes` bounds what is in memory; 0 turns the cache off, disk included."""
        self._max_bytes = max_bytes
        self._directory = directory
        self._max_files = max_files
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._written = 0
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not only with the first answer: a planner that ends while it writes that may do so again and again.
            _prune(directory, max_files)

    async def get(self, key: str) -> CachedDraft | None:
        """What was kept under the key, None when nothing was or it cannot be read."""
        if not self._max_bytes:
            return None
        data = self._entries.get(key)
        if data is not None:
            self._entries.move_to_end(key)
        elif self._directory is not None:
            data = await asyncio.to_thread(_read, self._directory / f"{key}.json")
            if data is not None:
                self._keep(key, data)
        return None if data is None else _decoded(data)

    async def put(self, key: str, cached: CachedDraft) -> None:
        """Keep an answer. A disk that does not take it is logged, nothing more."""
        if not self._max_bytes:
            return
        try:
            data = _CACHED_DRAFT.dump_json(cached)
        except PydanticSerializationError:
            # Halves of surrogate pairs: a model may write them, and nothing can store them.
            return
        self._keep(key, data)
        if self._directory is None:
            return
        self._written += 1
        try:
            await asyncio.to_thread(_write, self._directory, f"{key}.json", data)
            if self._written % _PRUNE_EVERY == 1:
                await asyncio.to_thread(_prune, self._directory, self._max_files)
        except OSError as error:
            _log.warning("the cache directory does not take an answer", error=error.strerror)

    def _keep(self, key: str, data: bytes) -> None:
        if (known := self._entries.pop(key, None)) is not None:
            self._bytes -= len(known) + _ENTRY_BYTES
        self._entries[key] = data
        self._bytes += len(data) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= len(oldest) + _ENTRY_BYTES


def _decoded(data: bytes) -> CachedDraft | None:
    try:
        cached = _CACHED_DRAFT.validate_json(data)
    except ValidationError:
        return None
    return cached if cached.draft.jobs or cached.draft.no_action_reason else None


def _read(path: Path) -> bytes | None:
    try:
        data = read_regular_file(path)
        os.utime(path)
    except OSError:
        return None
    return data


def _write(directory: Path, name: str, data: bytes) -> None:
    # Under another name first: a reader sees all of it or nothing.
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=_UNFINISHED_PREFIX, suffix=_UNFINISHED_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, directory / name)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _prune(directory: Path, max_files: int) -> None:
    """Remove what was being written when its planner ended, and the answers that were not read for longest."""
    now = time.time()
    unfinished = _changed(directory.glob(f"{_UNFINISHED_PREFIX}*{_UNFINISHED_SUFFIX}"))
    answers = _changed(directory.glob("*.json"))
    oldest = sorted(answers, key=answers.__getitem__)[: max(0, len(answers) - max_files)]
    for path in (*(path for path, time_s in unfinished.items() if now - time_s > _UNFINISHED_SECONDS), *oldest):
        with contextlib.suppress(OSError):  # another planner may remove it meanwhile
            path.unlink()


def _changed(paths: Iterable[Path]) -> dict[Path, float]:
    """When each of these that is a file was changed, in seconds."""
    times = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                times[path] = path.stat().st_mtime
    return times
