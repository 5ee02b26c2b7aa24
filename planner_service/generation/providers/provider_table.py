"""The providers that have a row of their own: protocol, mode, address, key, names of parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import instructor

EMBEDDED = "embedded"


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

PROVIDERS: Mapping[str, Provider] = {
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

KEY_VARIABLES: tuple[str, ...] = tuple(row.key_variable for row in PROVIDERS.values() if row.key_variable)
"""Environment variables that settings may collect into `GenerationSettings.provider_keys`."""
