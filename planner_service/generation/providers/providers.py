"""Which provider a model string means, how it is spoken to, and one client for each string. docs/models.md tells users.

Two protocols cover the table: OpenAI's chat completions, which most providers and all local servers speak, and
Anthropic's messages. Both are spoken by the provider's SDK over one transport of ours (transport.py). Any other
provider string that Instructor knows is handed to Instructor as it is, with what that costs: its SDK makes its own HTTP
client, so replies are bounded by that SDK and cannot be streamed or recorded.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import instructor
import openai
from instructor.core import ConfigurationError

from planner_service.generation.errors import ProviderNotUsable
from planner_service.generation.providers.recording import Recorder
from planner_service.generation.providers.transport import ModelTransport, sdk_client, sdk_timeout
from planner_service.generation.settings import GenerationSettings, ModelEndpoint

EMBEDDED = "embedded"

_ENGINE_SECONDS = 3_600.0
ALTERNATIVES = 8
"""How many candidates a server gives for each token."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One row of the table.

    wire: "openai", "anthropic", or "instructor" for what is left to Instructor.
    mode: how the schema is enforced where the provider is the real one; `custom_mode` behind a base URL of the user's
    own, where a local server constrains decoding by JSON schema and seldom calls tools well.
    key_variable: environment variable that customarily holds the key; empty: none is needed.
    output_limit: name of the parameter that limits the reply's tokens.
    seed: name of the parameter, empty when there is none. temperature: False when the SDK no longer has it.
    tells_logprobs: ask for the probabilities of tokens.
    """

    wire: str
    mode: instructor.Mode
    custom_mode: instructor.Mode = instructor.Mode.JSON_SCHEMA
    base_url: str = ""
    key_variable: str = ""
    output_limit: str = "max_tokens"
    seed: str = "seed"
    temperature: bool = True
    stream_options: bool = True
    single_tool_call: bool = False
    tells_logprobs: bool = False


_TOOLS = instructor.Mode.TOOLS
_SCHEMA = instructor.Mode.JSON_SCHEMA

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        EMBEDDED: Provider(wire="openai", mode=_SCHEMA),
        "openai": Provider(
            wire="openai",
            mode=_TOOLS,
            key_variable="OPENAI_API_KEY",
            output_limit="max_completion_tokens",
            single_tool_call=True,
        ),
        "anthropic": Provider(
            wire="anthropic",
            mode=_TOOLS,
            custom_mode=_TOOLS,
            key_variable="ANTHROPIC_API_KEY",
            seed="",
            temperature=False,
        ),
        "google": Provider(
            wire="openai",
            mode=_TOOLS,
            base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
            key_variable="GOOGLE_API_KEY",
        ),
        "mistral": Provider(
            wire="openai",
            mode=_TOOLS,
            base_url="https://api.mistral.ai/v1",
            key_variable="MISTRAL_API_KEY",
            seed="random_seed",
            stream_options=False,
        ),
        "groq": Provider(
            wire="openai", mode=_TOOLS, base_url="https://api.groq.com/openai/v1", key_variable="GROQ_API_KEY"
        ),
        "deepseek": Provider(
            wire="openai", mode=_TOOLS, base_url="https://api.deepseek.com", key_variable="DEEPSEEK_API_KEY"
        ),
        "openrouter": Provider(
            wire="openai", mode=_TOOLS, base_url="https://openrouter.ai/api/v1", key_variable="OPENROUTER_API_KEY"
        ),
        "together": Provider(
            wire="openai", mode=_TOOLS, base_url="https://api.together.xyz/v1", key_variable="TOGETHER_API_KEY"
        ),
        "ollama": Provider(wire="openai", mode=_SCHEMA, base_url="http://127.0.0.1:11434/v1"),
        "vllm": Provider(wire="openai", mode=_SCHEMA, base_url="http://127.0.0.1:8000/v1"),
        "llamacpp": Provider(wire="openai", mode=_SCHEMA, base_url="http://127.0.0.1:8080/v1"),
        "lmstudio": Provider(wire="openai", mode=_SCHEMA, base_url="http://127.0.0.1:1234/v1"),
    }
)

KEY_VARIABLES: tuple[str, ...] = tuple(row.key_variable for row in PROVIDERS.values() if row.key_variable)
"""Environment variables that settings may collect into `GenerationSettings.provider_keys`."""


_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_ALSO_DROPPED = {"logprobs": ("logprobs", "top_logprobs"), "top_logprobs": ("logprobs", "top_logprobs")}


@dataclasses.dataclass(slots=True)
class ModelClient:
    """One provider string's client.

    sdk: the provider's own client. create: makes one call with its parameters and gives its raw response; of what is
    left to Instructor, Instructor's `create`. stream_type: what the raw response of a stream is parsed to. key: to be
    masked.
    adaptations: parameters that this model rejected, with the names to give instead; None: leave it out.
    """

    model: str
    prefix: str
    mode: instructor.Mode
    row: Provider
    options: dict[str, Any]
    sdk: Any
    create: Callable[..., Awaitable[Any]]
    stream_type: Any = None
    key: str = dataclasses.field(default="", repr=False)
    adaptations: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def uses_tools(self) -> bool:
        """Whether the schema is given as the one tool to call."""
        return self.mode is _TOOLS

    @property
    def streams(self) -> bool:
        """Whether replies can be read while they come."""
        return self.row.wire != "instructor"

    @property
    def stream_options(self) -> dict[str, Any]:
        """Parameters that make a call a stream, without those the model rejected."""
        usage = self.row.wire == "openai" and self.row.stream_options and "stream_options" not in self.adaptations
        return {"stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}

    def adapt(self, parameters: Sequence[str]) -> bool:
        """Leaves out, or gives its other name to, the first parameter complained about that calls send.

        Tells whether that changes anything.
        """
        for name in parameters:
            if name not in self._sent_parameters():
                continue
            other = _OTHER_NAMES.get(name)
            if self.row.wire == "anthropic" and other is not None:
                continue  # its protocol requires max_tokens
            self.adaptations[name] = None if other in self.adaptations else other
            return True
        return False

    def call_options(self, *, output_limit: int, temperature: float, seed: int) -> dict[str, Any]:
        """Parameters of one call, in this provider's names, adapted to what the model rejected before."""
        row = self.row
        options = dict(self.options)
        if row.wire == "instructor":
            return options
        options[row.output_limit] = output_limit
        if row.temperature:
            options["temperature"] = temperature
        if row.seed == "seed":
            options["seed"] = seed
        elif row.seed:
            options["extra_body"] = {row.seed: seed}
        if row.tells_logprobs:
            options.update(logprobs=True, top_logprobs=ALTERNATIVES)
        for name, other in self.adaptations.items():
            for sent in _ALSO_DROPPED.get(name, (name,)):
                value = options.pop(sent, None)
                if other is not None and value is not None:
                    options[other] = value
            if name in options.get("extra_body", ()):
                del options["extra_body"]
        return options

    def _sent_parameters(self) -> set[str]:
        options = self.call_options(output_limit=1, temperature=0.0, seed=0)
        return {*options, *options.get("extra_body", ()), *self.stream_options} - {"model", "stream", "extra_body"}


class ModelClients:
    """Makes a client for each model string once, and closes them all.

    :param embedded: where the embedded engine answers, None when it does not run
    """

    def __init__(self, settings: GenerationSettings, embedded: ModelEndpoint | None = None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._clients: dict[str, ModelClient] = {}
        self._recorder = Recorder(settings.record_file) if settings.record_file is not None else None
        # Instructor logs failed replies whole, at ERROR; the SDKs and httpx tell of every request.
        logging.getLogger("instructor").setLevel(logging.CRITICAL + 1)
        for name in ("openai", "anthropic", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def client(self, model: str) -> ModelClient:
        """The client for this model string.

        :raises ProviderNotUsable: unknown provider, missing package or key; the message says what mends it
        """
        found = self._clients.get(model)
        if found is None:
            found = self._clients[model] = self._open(model)
        return found

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            if client.streams:
                await client.sdk.close()

    def _open(self, model: str) -> ModelClient:
        prefix, _, name = model.partition("/")
        row = PROVIDERS.get(prefix)
        if row is not None and prefix != EMBEDDED and not name:
            raise ProviderNotUsable(f'the model "{model}" must be written as provider/name, for example openai/gpt-4o')
        if row is None:
            return self._open_by_instructor(model, prefix)
        endpoint = self._endpoint(prefix, name, row)
        mode = self._mode(prefix, row, endpoint)
        if endpoint.base_url and row.output_limit == "max_completion_tokens":
            # A server of the user's own behind "openai/": only OpenAI itself is sure to know the new names.
            row = dataclasses.replace(row, output_limit="max_tokens", single_tool_call=False)
        settings = self._settings
        if prefix == EMBEDDED:
            row = dataclasses.replace(row, tells_logprobs=endpoint.tells_logprobs)
            # The run bounds the one long attempt.
            settings = dataclasses.replace(settings, attempt_timeout_seconds=_ENGINE_SECONDS)
        options: dict[str, Any] = {"model": endpoint.model_name}
        if row.single_tool_call and mode is _TOOLS:
            options["parallel_tool_calls"] = False
        open_sdk = _open_anthropic if row.wire == "anthropic" else _open_openai
        sdk, create, stream_type = open_sdk(endpoint, settings, self._recorder)
        return ModelClient(model, prefix, mode, row, options, sdk, create, stream_type, key=endpoint.api_key)

    def _endpoint(self, prefix: str, name: str, row: Provider) -> ModelEndpoint:
        settings = self._settings
        if prefix == EMBEDDED:
            if self._embedded is not None:
                return self._embedded
            if settings.replay_file is not None:
                return ModelEndpoint("http://replay.invalid/v1", "none", name or EMBEDDED, tells_logprobs=True)
            raise ProviderNotUsable("the embedded model is not running: fetch it with `plangate model pull`")
        own = prefix == settings.model.partition("/")[0]
        base_url = (settings.base_url if own else "") or row.base_url
        # A line feed at the end comes of how secrets are written to files.
        key = ((settings.api_key if own else "") or settings.provider_keys.get(row.key_variable, "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise ProviderNotUsable(
                f"the key for the provider {prefix} cannot be sent: a key is printable ASCII, on one line"
            )
        if not key and row.key_variable and not (own and settings.base_url) and settings.replay_file is None:
            raise ProviderNotUsable(
                f"the provider {prefix} needs a key: set {row.key_variable}"
                + (", PLANGATE_MODEL_API_KEY, or PLANGATE_MODEL_API_KEY_FILE" if own else "")
            )
        # Servers that need no key still get a header; the SDKs insist on one.
        return ModelEndpoint(base_url, key or "none", name)

    def _mode(self, prefix: str, row: Provider, endpoint: ModelEndpoint) -> instructor.Mode:
        settings = self._settings
        if settings.mode and prefix == settings.model.partition("/")[0]:
            try:
                return instructor.Mode[settings.mode.upper()]
            except KeyError:
                raise ProviderNotUsable(
                    f'there is no mode "{settings.mode}": use tools, json_schema, json or md_json'
                ) from None
        return row.mode if endpoint.base_url == row.base_url else row.custom_mode

    def _open_by_instructor(self, model: str, prefix: str) -> ModelClient:
        try:
            client = instructor.from_provider(model, async_client=True)
        except ConfigurationError as error:
            raise ProviderNotUsable(
                f'the model "{model}" cannot be used: {_first_line(error)} '
                f"Providers with a client of their own here: {', '.join(PROVIDERS)}."
            ) from None
        except Exception as error:
            # SDKs complain about missing keys and projects in exception types of their own.
            raise ProviderNotUsable(f'the model "{model}" cannot be used: {_first_line(error)}') from None
        sdk: Any = client.client
        if hasattr(sdk, "max_retries"):
            sdk.max_retries = 0
        row = Provider(wire="instructor", mode=client.mode)
        return ModelClient(model, prefix, client.mode, row, {}, sdk, client.create)


_OpenedSdk = tuple[Any, Callable[..., Awaitable[Any]], Any]


def _open_openai(endpoint: ModelEndpoint, settings: GenerationSettings, recorder: Recorder | None) -> _OpenedSdk:
    sdk = openai.AsyncOpenAI(
        base_url=endpoint.base_url or None,
        api_key=endpoint.api_key,
        max_retries=0,
        timeout=sdk_timeout(settings),
        http_client=sdk_client(ModelTransport(settings, recorder), settings),
    )
    return sdk, sdk.chat.completions.with_raw_response.create, openai.AsyncStream[object]


def _open_anthropic(endpoint: ModelEndpoint, settings: GenerationSettings, recorder: Recorder | None) -> _OpenedSdk:
    try:
        import anthropic
    except ImportError:
        raise ProviderNotUsable("models by Anthropic need their SDK: pip install 'plangate[anthropic]'") from None
    sdk = anthropic.AsyncAnthropic(
        base_url=endpoint.base_url or None,
        api_key=endpoint.api_key,
        max_retries=0,
        timeout=sdk_timeout(settings),
        http_client=sdk_client(ModelTransport(settings, recorder), settings),
    )
    return sdk, sdk.messages.with_raw_response.create, anthropic.AsyncStream[object]


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300]
