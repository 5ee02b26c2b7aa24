"""A model's reply in one form, whatever protocol it came in, whole or in pieces."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from planner_service.generation.providers.chat import Said


@dataclasses.dataclass(slots=True)
class Reply:
    """What was said, and how it ended.

    text: the JSON that was asked for (a tool's arguments, or the content), or whatever came instead.
    pieces: what came of it in a stream since `joined` was called last: joined with each piece, megabytes take seconds.
    finish: "stop", "length" (cut off at the output limit), or "" (the stream broke off before it said).
    tool_names: tools called, in order. recognised: False when the answer is not of any protocol we know.
    Tokens as the provider counted them, 0 when it did not say.
    token_logprobs: each token with its likeliest alternatives, in the provider's form, where they were asked for.
    """

    text: str = ""
    pieces: list[str] = dataclasses.field(default_factory=list)
    finish: str = ""
    refused: bool = False
    tool_names: list[str] = dataclasses.field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    recognised: bool = True
    token_logprobs: list[Any] = dataclasses.field(default_factory=list)

    def joined(self) -> None:
        """Take the pieces into the text."""
        self.text += "".join(self.pieces)
        self.pieces.clear()


def read_reply(response: Any) -> Reply:
    """The reply in a complete response: of OpenAI's protocol as chat.py gives it, or of Anthropic's SDK."""
    choices = getattr(response, "choices", None)
    if choices:
        return _read_completion(response, choices[0])
    content = getattr(response, "content", None)
    if isinstance(content, list):
        return _read_message(response, content)
    return Reply(recognised=False)


def _read_completion(response: Any, choice: Any) -> Reply:
    message = choice.message
    calls = message.tool_calls or []
    reply = Reply(
        text=_text(calls[0].function.arguments if calls else message.content),
        finish=_finish(choice.finish_reason),
        refused=getattr(message, "refusal", None) is not None or choice.finish_reason == "content_filter",
        tool_names=[_text(call.function.name) for call in calls],
    )
    _count(reply, getattr(response, "usage", None))
    if isinstance(logprobs := getattr(choice, "logprobs", None), dict):
        reply.token_logprobs.extend(logprobs.get("content") or ())
    return reply


def _read_message(response: Any, content: list[Any]) -> Reply:
    calls = [block for block in content if block.type == "tool_use"]
    texts = [_text(block.text) for block in content if block.type == "text"]
    reply = Reply(
        text=json.dumps(calls[0].input, ensure_ascii=False) if calls else "".join(texts),
        finish=_finish(response.stop_reason),
        refused=response.stop_reason == "refusal",
        tool_names=[_text(block.name) for block in calls],
    )
    _count(reply, getattr(response, "usage", None))
    return reply


def hear_event(reply: Reply, event: Any) -> str:
    """Takes one event of a streamed response into the reply; returns the piece of text that it carried.

    Events of OpenAI's protocol are plain JSON, or one whole completion (see chat.py), those of Anthropic's the SDK's
    objects. What is not of its protocol is passed over.
    """
    if isinstance(event, Said):
        return _hear_completion(reply, event)
    if isinstance(event, dict):
        return _hear_chunk(reply, event)
    return _hear_message_event(reply, event)


def _hear_completion(reply: Reply, completion: Said) -> str:
    whole = read_reply(completion)
    for field in dataclasses.fields(Reply):
        setattr(reply, field.name, getattr(whole, field.name))
    # As a stream has it: `joined` takes it into the text.
    reply.pieces, reply.text = [whole.text], ""
    return whole.text


def _hear_chunk(reply: Reply, chunk: dict[str, Any]) -> str:
    if (usage := chunk.get("usage")) is not None:
        reply.input_tokens = _tokens(usage.get("prompt_tokens")) or reply.input_tokens
        reply.output_tokens = _tokens(usage.get("completion_tokens")) or reply.output_tokens
    choices = chunk.get("choices")
    if not choices:
        return ""
    choice = choices[0]
    reply.recognised = True
    if logprobs := choice.get("logprobs"):
        reply.token_logprobs.extend(logprobs.get("content") or ())
    if reason := choice.get("finish_reason"):
        reply.finish = _finish(reason)
        reply.refused = reply.refused or reason == "content_filter"
    delta = choice.get("delta") or {}
    if delta.get("refusal"):
        reply.refused = True
    piece = ""
    for call in delta.get("tool_calls") or ():
        function, index = call.get("function") or {}, call.get("index") or 0
        # A name begins a new call; servers that repeat it with every piece keep the index.
        if function.get("name") and index >= len(reply.tool_names):
            reply.tool_names.append(_text(function["name"]))
        if index == 0:
            piece += _text(function.get("arguments"))
    if not reply.tool_names:
        piece += _text(delta.get("content"))
    reply.pieces.append(piece)
    return piece


def _hear_message_event(reply: Reply, event: Any) -> str:
    match event.type:
        case "message_start":
            reply.recognised = True
            _count(reply, event.message.usage)
        case "content_block_start" if event.content_block.type == "tool_use":
            if not reply.tool_names:
                reply.pieces.clear()  # what was said before the call is not part of it
            reply.tool_names.append(_text(event.content_block.name))
        case "content_block_delta":
            delta = event.delta
            piece = ""
            if delta.type == "input_json_delta" and len(reply.tool_names) == 1:
                piece = _text(delta.partial_json)
            elif delta.type == "text_delta" and not reply.tool_names:
                piece = _text(delta.text)
            reply.pieces.append(piece)
            return piece
        case "message_delta":
            reply.finish = _finish(event.delta.stop_reason)
            reply.refused = event.delta.stop_reason == "refusal"
            _count(reply, event.usage)
        case _:
            pass
    return ""


def _finish(reason: str | None) -> str:
    if reason in ("length", "max_tokens", "model_context_window_exceeded"):
        return "length"
    return "stop" if reason else ""


def _count(reply: Reply, usage: Any) -> None:
    if usage is None:
        return
    # Anthropic counts what came from or went to its prompt cache apart.
    read = ("prompt_tokens", "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    written = ("completion_tokens", "output_tokens")
    reply.input_tokens = sum(_tokens(getattr(usage, name, 0)) for name in read) or reply.input_tokens
    reply.output_tokens = sum(_tokens(getattr(usage, name, 0)) for name in written) or reply.output_tokens


def _tokens(count: Any) -> int:
    return count if isinstance(count, int) and 0 <= count < 1 << 53 else 0


def _text(value: Any) -> str:
    """The text, which may be missing. Raises TypeError for anything else: SDKs do not check what servers send."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value
