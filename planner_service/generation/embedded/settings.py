"""What the environment can tell the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from platformdirs import user_cache_path
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from plangate_core.process.settings import PREFIX, Fixed, PlangateSettings


def default_models_dir() -> Path:
    """Where `model pull` puts the weights: they can be fetched again, so they live in the user's cache."""
    return user_cache_path("plangate") / "models"


class EmbeddedSettings(PlangateSettings):
    """Read from PLANGATE_MODEL_PATH, PLANGATE_MODEL_DIR, PLANGATE_MODEL_THREADS and so on."""

    model_config = SettingsConfigDict(env_prefix=f"{PREFIX}MODEL_")

    path: Path | None = None
    """A GGUF file of your own, instead of the one that `model pull` brings."""
    dir: Path = Field(default_factory=default_models_dir)
    """Where `model pull` puts the weights."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads that compute. 0: as many as cores this process may use."""
    parallel: int = Field(default=1, ge=1, le=16)
    """Plans generated at once; more wait. On a CPU two at once take as long as one after the other."""
    context_tokens: int = Field(default=8192, ge=2048, le=131_072)
    """Prompt and reply of one plan together."""
    prompt_cache_mib: Annotated[int, Fixed] = 256
    """Memory for prompts read before, so that two catalogues, or two plans at once, do not push each other out."""
