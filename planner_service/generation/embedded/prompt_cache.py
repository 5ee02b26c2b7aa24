"""What the model made of a prompt's beginning, kept on disk: a planner that starts again need not read it again.

Reading a thousand tokens takes a CPU 15 seconds, loading them 30 ms. A file's name is the digest of all it depends on:
weights, engine and the messages themselves. llama.cpp compares the tokens before it uses any of it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

_KEPT = 8
_SUFFIX = ".state"


def state_name(weights: Path, messages: Sequence[Mapping[str, str]]) -> str:
    """The file's name for a prompt. Changes with the weights, the engine's version and every byte of the messages."""
    depends = [*weights_identity(weights), [dict(message) for message in messages]]
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    return f"{digest[:40]}{_SUFFIX}"


def weights_identity(weights: Path) -> tuple[str | int, ...]:
    """What tells these weights and the engine that reads them from others. Raises OSError."""
    status = weights.stat()
    return (weights.name, status.st_size, status.st_mtime_ns, importlib.metadata.version("xllamacpp"))


def forget_oldest(directory: Path) -> None:
    """Keep the few files that were used last; each has some 30 MB."""

    def used(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # another planner was faster
            return 0.0

    for path in sorted(directory.glob(f"*{_SUFFIX}*"), key=used)[:-_KEPT]:
        path.unlink(missing_ok=True)
