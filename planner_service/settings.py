"""Settings of the planner, from environment variables. Read once, at start.

Light to import: every program of ours looks here for the names of variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import NoDecode

from plangate_core.contract.limits import MAX_PROMPT_CHARACTERS
from plangate_core.process.settings import Fixed
from plangate_core.rpc.settings import ServerSettings
from planner_service.generation.attempts import RawText
from planner_service.generation.settings import GenerationSettings

_HTTP_URL = re.compile(r"https?://[^\s/@?#]+(?:/[^\s?#@]*)?")


def _is_url(text: str) -> bool:
    """Whether those who will send to it can read it: a port that there is, a host that can be looked up."""
    import httpx2

    try:
        httpx2.URL(text)
        parts = urlsplit(text)
        return bool(parts.hostname and parts.hostname.encode("idna") and (parts.port is None or parts.port > 0))
    except (ValueError, httpx2.InvalidURL):
        return False


def _separated(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_Models = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)]


def _provider_keys() -> dict[str, str]:
    """Keys under the names that the providers' own tools use."""
    # Imports the providers' SDKs, which takes two seconds: only before a model is called.
    from planner_service.generation.providers.provider_table import KEY_VARIABLES

    return {name: os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)}


def _key_of(file: Path) -> str:
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text"
        raise ValueError(f"PLANGATE_MODEL_API_KEY_FILE cannot be read: {why}: {file}") from error
    if not key:
        raise ValueError(f"PLANGATE_MODEL_API_KEY_FILE is empty: {file}")
    return key


class PlannerSettings(ServerSettings):
    """PLANGATE_PLANNER_LISTEN, PLANGATE_CATALOGUE_FILE and so on. Listed in docs/reference/settings.md."""

    planner_listen: str = "127.0.0.1:50052"
    """host:port; port 0 takes a free one."""
    store_target: str = "127.0.0.1:50051"
    """Where the store is, as gRPC names it."""
    catalogue_file: Path | None = None
    """The actions that may be planned. Required."""
    policy_file: Path | None = None
    """The rules. Without them the catalogue's own words count, and the rest is denied."""
    reload_poll_seconds: Annotated[float, Fixed] = 2.0
    """How often to look whether those two files changed."""

    model: str = "embedded"
    """Provider string of the model: embedded, openai/gpt-4o, anthropic/claude-..., ollama/..."""
    model_base_url: str = ""
    """Where the model's provider answers, for servers of your own."""
    model_api_key: SecretStr | None = None
    """The provider's key. Keys of further providers are read from OPENAI_API_KEY and the like."""
    model_api_key_file: Path | None = None
    """A file that holds that key instead, as containers are given secrets. Read at start."""
    fallback_models: _Models = ()
    """Models to ask when the first is away or keeps answering wrongly, separated by commas."""
    allowed_models: _Models = ()
    """Further models that requests may name, separated by commas."""
    model_mode: Literal["", "tools", "json_schema", "json", "md_json"] = ""
    """How the model is held to the schema; empty: what suits its provider."""
    model_temperature: float = Field(default=0.0, ge=0, le=2)
    model_seed: Annotated[int, Fixed] = 7
    model_max_output_tokens: int = Field(default=2_048, ge=64, le=131_072)
    """Tokens of one reply."""
    model_catalogue_characters: int = Field(default=0, ge=0)
    """Characters of the catalogue's actions that a model is shown; 0: as many as its provider's models read."""
    model_attempt_timeout_seconds: float = Field(default=120.0, gt=0)
    """One call to the model."""
    model_max_connections: Annotated[int, Fixed] = 512
    """Connections to one provider at once; further calls wait."""
    model_max_reply_bytes: Annotated[int, Fixed] = 4 * 1024 * 1024
    """What is read of one reply; the rest of a larger one is not, and the attempt has failed."""
    model_circuit_failures: int = Field(default=5, ge=1)
    """Outages in a row after which a provider is left alone."""
    model_circuit_open_seconds: float = Field(default=20.0, gt=0)
    """For how long; then one call tries."""
    model_record_file: Path | None = None
    """Write requests, replies and plans there, to be replayed."""
    model_replay_file: Path | None = None
    """Answer from such a file instead of asking a provider."""
    raw_replies: RawText = RawText.KEEP
    """What becomes of a model's replies in reports: keep, redact, drop."""

    model_attempts: int = Field(default=3, ge=1, le=10)
    """Calls to a model for one plan, unless the request says otherwise."""
    model_token_budget: int = Field(default=300_000, ge=0)
    """Input plus output tokens for one plan, unless the request says otherwise. 0: no limit."""
    plan_timeout_seconds: float = Field(default=300.0, gt=0)
    """The longest that planning may take, also when a caller would wait longer."""
    stream_stall_seconds: Annotated[float, Fixed] = 30.0
    """How long a client may take no message of a plan's stream before it is ended."""
    max_prompt_characters: int = Field(default=MAX_PROMPT_CHARACTERS, ge=1, le=MAX_PROMPT_CHARACTERS)
    max_plans_in_flight: int = Field(default=256, ge=1)
    """Plans made at once for callers that wait; more are refused with OVERLOADED."""
    max_simulations: Annotated[int, Fixed] = 2
    """Policies tried on history at once; more are refused with OVERLOADED."""

    draft_cache_megabytes: int = Field(default=64, ge=0)
    """Memory for models' answers to requests that come again. 0: none are kept."""
    draft_cache_dir: Path | None = None
    """Keep them on disk too, where restarts and other planners of this machine find them."""
    draft_cache_max_files: Annotated[int, Fixed] = 10_000

    kernel_concurrency: int = Field(default=4, ge=0, le=100)
    """Queued plans worked on at once. 0: this planner leaves the queue to others."""
    kernel_lease_seconds: float = Field(default=60.0, ge=1, le=3600)
    """How long the store holds a plan for this planner between renewals: what a crash costs."""
    kernel_wait_seconds: Annotated[float, Fixed] = 20.0
    """How long one claim waits for a plan."""

    _key_in_file: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _fits_together(self) -> PlannerSettings:
        if self.model_record_file is not None and self.raw_replies is not RawText.KEEP:
            raise ValueError(
                "PLANGATE_MODEL_RECORD_FILE keeps prompts and replies whole, which PLANGATE_RAW_REPLIES="
                f"{self.raw_replies.value} forbids: unset one of them"
            )
        if self.model_base_url and not (_HTTP_URL.fullmatch(self.model_base_url) and _is_url(self.model_base_url)):
            raise ValueError("PLANGATE_MODEL_BASE_URL must be http(s)://HOST[:PORT][/PATH], without a key in it")
        if self.model_api_key_file is not None:
            if self.model_api_key is not None:
                raise ValueError(
                    "PLANGATE_MODEL_API_KEY and PLANGATE_MODEL_API_KEY_FILE say the same: unset one of them"
                )
            self._key_in_file = _key_of(self.model_api_key_file)
        return self

    @property
    def draft_cache_bytes(self) -> int:
        """0 while recording or replaying: then every plan must come from exchanges of its own."""
        recording = self.model_record_file is not None or self.model_replay_file is not None
        return 0 if recording else self.draft_cache_megabytes << 20

    @property
    def models(self) -> tuple[str, ...]:
        """The configured model, then its fallbacks, each once."""
        return tuple(dict.fromkeys((self.model, *self.fallback_models)))

    @property
    def usable_models(self) -> frozenset[str]:
        """All that a request may name."""
        return frozenset((*self.models, *self.allowed_models))

    def known_roles(self) -> frozenset[str] | None:
        """The roles that identities of the tokens file hold; None where callers name their roles themselves."""
        if self.auth_tokens_file is None:
            return None
        # Brings gRPC with it, which `check` needs for this only.
        from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file

        try:
            return read_tokens_file(self.auth_tokens_file).roles()
        except TokensFileInvalid:
            # The server refuses it at start, and keeps the tokens it had when it reads it again.
            return None

    def generation_settings(self, provider_keys: Mapping[str, str] | None = None) -> GenerationSettings:
        """What the InstructorClient needs to know. `provider_keys` default to those of the environment."""
        return GenerationSettings(
            model=self.model,
            base_url=self.model_base_url,
            api_key=self.model_api_key.get_secret_value() if self.model_api_key else self._key_in_file,
            provider_keys=_provider_keys() if provider_keys is None else provider_keys,
            mode=self.model_mode,
            temperature=self.model_temperature,
            seed=self.model_seed,
            max_output_tokens=self.model_max_output_tokens,
            catalogue_characters=self.model_catalogue_characters,
            attempt_timeout_seconds=self.model_attempt_timeout_seconds,
            max_reply_bytes=self.model_max_reply_bytes,
            max_connections=self.model_max_connections,
            circuit_failures=self.model_circuit_failures,
            circuit_open_seconds=self.model_circuit_open_seconds,
            raw_text=self.raw_replies,
            record_file=self.model_record_file,
            replay_file=self.model_replay_file,
        )
