"""What the operator may set about how models are called. Made once by the service's settings, never read from here."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path

from planner_service.generation.attempts import RawText


class OnRepeatedError(enum.StrEnum):
    """What to do when a model makes the same mistake twice in a row.

    STOP: give up at once. FALLBACK: ask the next model, and give up when there is none. VARY: ask once more, without
    showing the model its last reply and with some temperature, so that it does not take the same path again.
    """

    STOP = "stop"
    FALLBACK = "fallback"
    VARY = "vary"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """Where a model answers: the embedded engine's own address, key and model name.

    tells_logprobs: its replies are reviewed, which takes the probabilities of their tokens.
    """

    base_url: str
    api_key: str = dataclasses.field(repr=False)
    model_name: str
    tells_logprobs: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """All of it has a default that is right for one machine.

    model: provider string that `base_url`, `api_key` and `mode` belong to (any model of that provider).
    provider_keys: values of the variables that `providers.KEY_VARIABLES` names, for models of other providers.
    mode: Instructor's mode by name ("tools", "json_schema", "json", "md_json"); empty: the provider's own.
    catalogue_characters: of the actions that any model is shown; 0: as many as its provider's models read.
    """

    model: str = "embedded"
    base_url: str = ""
    api_key: str = dataclasses.field(default="", repr=False)
    provider_keys: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    mode: str = ""
    temperature: float = 0.0
    seed: int = 7
    max_output_tokens: int = 2_048
    catalogue_characters: int = 0
    attempt_timeout_seconds: float = 120.0
    connect_timeout_seconds: float = 10.0
    max_reply_bytes: int = 4 * 1_048_576
    max_connections: int = 512
    raw_text: RawText = RawText.KEEP
    on_repeated_error: OnRepeatedError = OnRepeatedError.FALLBACK
    circuit_failures: int = 5
    circuit_open_seconds: float = 20.0
    record_file: Path | None = None
    replay_file: Path | None = None
