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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from plangate_core.catalogue.finding import Finding
from plangate_core.process.regular_file import read_regular_file
from planner_service.generation.reply.draft import JobDraft, PlanDraft

_PRUNE_EVERY = 64
_BEING_WRITTEN = (".draft-", ".tmp")
# Of another planner's file, that may still be written; a write takes milliseconds.
_LEFT_OVER_SECONDS = 3_600.0
_LEFT_OVER_AT_ONCE = 1_000
# What the key and the entry take in memory beside the answer itself.
_ENTRY_BYTES = 220

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CachedDraft:
    """A draft that passed the checks, and which model gave it under which template."""

    draft: PlanDraft
    model: str
    prompt_template_version: str


def draft_key(
    *,
    prompt: str,
    context: Mapping[str, Any],
    catalogue_digest: str,
    policy_digest: str,
    models: tuple[str, ...],
    prompt_template_version: str,
    asked_how: tuple[str, ...],
) -> str:
    """SHA-256 (hex) of everything that an answer depends on. `asked_how`: what the settings say of asking models."""
    parts: list[Any] = [
        prompt,
        dict(context),
        catalogue_digest,
        policy_digest,
        models,
        prompt_template_version,
        asked_how,
    ]
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
            _remove_left_over(directory)

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
        data = _encoded(cached)
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


def _encoded(cached: CachedDraft) -> bytes:
    draft = cached.draft
    return json.dumps(
        {
            "objective": draft.objective,
            "jobs": [[job.action_name, job.action_args, list(job.depends_on)] for job in draft.jobs],
            "no_action_reason": draft.no_action_reason,
            "corrections": [[found.path, found.type, found.message] for found in draft.corrections],
            "model": cached.model,
            "prompt_template_version": cached.prompt_template_version,
        }
    ).encode()


def _decoded(data: bytes) -> CachedDraft | None:
    try:
        record = json.loads(data)
        decoded = CachedDraft(
            draft=PlanDraft(
                objective=str(record["objective"]),
                jobs=tuple(
                    JobDraft(str(name), dict(args), tuple(int(position) for position in depends_on))
                    for name, args, depends_on in record["jobs"]
                ),
                no_action_reason=str(record["no_action_reason"]),
                corrections=tuple(
                    Finding(str(path), str(kind), str(message)) for path, kind, message in record["corrections"]
                ),
            ),
            model=str(record["model"]),
            prompt_template_version=str(record["prompt_template_version"]),
        )
        # Texts that cannot be sent are none that we wrote, and a plan without jobs has a reason.
        json.dumps(record, ensure_ascii=False).encode()
        return decoded if decoded.draft.jobs or decoded.draft.no_action_reason else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _read(path: Path) -> bytes | None:
    try:
        data = read_regular_file(path)
        os.utime(path)
    except OSError:
        return None
    return data


def _write(directory: Path, name: str, data: bytes) -> None:
    # Under another name first: a reader sees all of it or nothing.
    prefix, suffix = _BEING_WRITTEN
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=prefix, suffix=suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, directory / name)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _prune(directory: Path, max_files: int) -> None:
    _remove_left_over(directory)
    aged: list[tuple[float, Path]] = []
    for path in directory.glob("*.json"):
        with contextlib.suppress(OSError):
            aged.append((path.stat().st_mtime, path))
    for _, path in sorted(aged)[: max(0, len(aged) - max_files)]:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_left_over(directory: Path) -> None:
    """Remove files that were being written when their planner ended; those beyond a thousand another time."""
    prefix, suffix = _BEING_WRITTEN
    removed = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if not (entry.name.startswith(prefix) and entry.name.endswith(suffix)):
                continue
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_OVER_SECONDS:
                    os.unlink(entry)
                    removed += 1
            if removed >= _LEFT_OVER_AT_ONCE:
                return
