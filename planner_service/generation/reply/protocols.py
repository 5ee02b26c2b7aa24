"""The protocols that replies come in: how each is read, and how its SDK's type is made of what was read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import instructor
from openai.types.chat import ChatCompletion

from planner_service.generation.reply.anthropic_message import MessageEvents, read_message
from planner_service.generation.reply.chat_completion import CompletionChunks, read_completion
from planner_service.generation.reply.reply import Reply, StreamReader


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyProtocol:
    """One provider protocol.

    provider: Instructor's name for it. read: a whole reply; raises TypeError and the like. stream_reader: of a new
    stream. as_sdk_type: a reply that holds this JSON, as a call of the named tool or as text, in the SDK's type.
    """

    provider: instructor.Provider
    read: Callable[[Mapping[str, Any]], Reply]
    stream_reader: Callable[[], StreamReader]
    as_sdk_type: Callable[[str, str], Any]


def _chat_completion(text: str, tool: str) -> ChatCompletion:
    message: dict[str, Any] = {"role": "assistant", "content": None if tool else text}
    if tool:
        message["tool_calls"] = [{"id": "call", "type": "function", "function": {"name": tool, "arguments": text}}]
    return ChatCompletion.model_validate(
        {
            "id": "",
            "object": "chat.completion",
            "created": 0,
            "model": "",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
            # With a usage of its own type, Instructor does not look for Anthropic's SDK.
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }
    )


def _anthropic_message(text: str, tool: str) -> Any:
    from anthropic.types import Message  # an optional dependency, there if its client was made

    block: dict[str, Any] = {"type": "text", "text": text}
    if tool:
        block = {"type": "tool_use", "id": "call", "name": tool, "input": json.loads(text)}
    return Message.model_validate(
        {
            "id": "",
            "type": "message",
            "role": "assistant",
            "model": "",
            "content": [block],
            "stop_reason": "tool_use" if tool else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
    )


PROTOCOLS: Mapping[str, ReplyProtocol] = {
    "openai": ReplyProtocol(instructor.Provider.OPENAI, read_completion, CompletionChunks, _chat_completion),
    "anthropic": ReplyProtocol(instructor.Provider.ANTHROPIC, read_message, MessageEvents, _anthropic_message),
}
"""By `Provider.wire`."""
