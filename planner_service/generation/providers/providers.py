"""Opens the client of each model string: which provider it names, where that answers, and with which key.

Two protocols cover the table: OpenAI's chat completions, which most providers and all local servers speak, and
Anthropic's messages. Both are spoken by the provider's SDK over one transport of ours (transport.py). Any other
provider string that Instructor knows is handed to Instructor as it is, with what that costs: its SDK makes its own HTTP
client, so replies are bounded by that SDK and cannot be streamed or recorded.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import instructor
import openai
from instructor.core import ConfigurationError

from planner_service.generation.errors import ProviderNotUsable
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.providers.provider_table import EMBEDDED, PROVIDERS, Provider
from planner_service.generation.providers.recording import RecordingFile
from planner_service.generation.providers.transport import sdk_client
from planner_service.generation.settings import GenerationSettings, ModelEndpoint

_ENGINE_SECONDS = 3_600.0


class ModelClients:
    """Makes a client for each model string once, and closes them all.

    :param embedded: where the embedded engine answers, None when it does not run
    """

    def __init__(self, settings: GenerationSettings, embedded: ModelEndpoint | None = None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._clients: dict[str, ModelClient] = {}
        self._recording = RecordingFile(settings.record_file) if settings.record_file is not None else None
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
        if row.single_tool_call and mode is instructor.Mode.TOOLS:
            options["parallel_tool_calls"] = False
        anthropic = row.wire == "anthropic"
        package: Any = _anthropic_package() if anthropic else openai
        open_sdk = package.AsyncAnthropic if anthropic else package.AsyncOpenAI
        sdk = open_sdk(
            base_url=endpoint.base_url or None,
            api_key=endpoint.api_key,
            max_retries=0,
            http_client=sdk_client(settings, self._recording),
        )
        create = (sdk.messages if anthropic else sdk.chat.completions).with_raw_response.create
        stream_type = package.AsyncStream[object]
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
        # Servers that need no key still get a header; the SDKs insist on one.
        return ModelEndpoint(base_url, self._key(prefix, row, own=own) or "none", name)

    def _key(self, prefix: str, row: Provider, *, own: bool) -> str:
        """The provider's key, empty where none is needed. own: it is the provider that the settings' key belongs to."""
        settings = self._settings
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
        return key

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


def _anthropic_package() -> Any:
    try:
        import anthropic
    except ImportError:
        raise ProviderNotUsable(
            "models by Anthropic need the extra `anthropic` (in a clone: pip install '.[anthropic]')"
        ) from None
    return anthropic


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300]
