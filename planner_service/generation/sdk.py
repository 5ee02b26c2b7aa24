"""OpenAI's SDK without its walk over every request.

Before it sends a chat completion, the SDK compares each message and each node of each schema with the type annotations
of its parameters, to rename keys that have other names on the wire. Ours have none, and the walk was the largest part
of the CPU that a plan costs (2.0 of 4.6 ms with a catalogue of two actions; it grows with the catalogue).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import openai
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.types.chat import ChatCompletion


class _DirectCompletions(AsyncCompletions):
    async def create(self, *, extra_body: dict[str, Any] | None = None, **body: Any) -> Any:  # type: ignore[override]  # a relay
        """Send these parameters as they are."""
        if extra_body:
            body.update(extra_body)
        return await self._client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body=body,
            options={"security": {"bearer_auth": True}},
            stream=body.get("stream", False),
            # Events as the plain JSON they came as: a model object for every few characters doubled a plan's CPU.
            stream_cls=openai.AsyncStream[object],
        )


class _DirectChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _DirectCompletions(self._client)


class DirectOpenAI(openai.AsyncOpenAI):
    """OpenAI's async client; parameters of chat completions must be what goes on the wire."""

    @cached_property
    def chat(self) -> AsyncChat:
        return _DirectChat(self)
