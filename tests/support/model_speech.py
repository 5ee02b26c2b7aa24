"""How a scripted reply is said in each provider's protocol, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import re
from collections.abc import AsyncIterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class ModelReply:
    """How one request is answered. The fields below `text` are the ways to misbehave.

    tool_names: None answers in the way that was asked for (a call of the one tool given, or text).
    drop_after: bytes of the body after which the connection is reset; 0 drops it before the status line.
    refusal_probabilities: of "no_matching_action" where each job's name begins; said to who asks for it.
    gate: the answer, or what follows `gate_after` characters of a streamed one, waits for this event.
    """

    text: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    finish: str = "stop"
    refusal: str | None = None
    refusal_probabilities: tuple[float, ...] = ()
    tool_names: tuple[str, ...] | None = None
    input_tokens: int = 50
    output_tokens: int = 20
    chunk_size: int = 16
    raw_body: bytes | None = None
    flood_bytes: int = 0
    drop_after: int | None = None
    hangs: bool = False
    gate: asyncio.Event | None = None
    gate_after: int = 0
    latency_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModelRequest:
    """One request as it was received."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def prompt_size(self) -> int:
        """Characters of all messages, the system's included."""
        return len(json.dumps([self.body.get("system", ""), self.body["messages"]]))

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body["messages"])

    @property
    def last_message(self) -> str:
        return str(self.messages[-1]["content"])


class Speech:
    """One protocol's way to say a reply."""

    def __init__(self, received: ModelRequest, reply: ModelReply) -> None:
        self.received = received
        self.reply = reply
        tools = [tool.get("function", tool)["name"] for tool in received.body.get("tools", [])]
        self.tool_names = reply.tool_names if reply.tool_names is not None else tuple(tools)

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def events(self) -> AsyncIterator[tuple[bytes, int]]:
        """Server-sent events, each with the number of characters of the reply that it carries."""
        raise NotImplementedError

    async def _pieces(self) -> AsyncIterator[str]:
        if self.reply.flood_bytes:
            for _ in range(self.reply.flood_bytes // 65_536):
                yield "x" * 65_536
            return
        size = self.reply.chunk_size
        for start in range(0, len(self.reply.text), size):
            yield self.reply.text[start : start + size]


class OpenAISpeech(Speech):
    def whole(self) -> dict[str, Any]:
        reply = self.reply
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": reply.refusal}
        if self.tool_names and reply.refusal is None:
            message["tool_calls"] = [
                {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": reply.text}}
                for i, name in enumerate(self.tool_names)
            ]
        elif reply.refusal is None:
            message["content"] = reply.text
        finish = "tool_calls" if self.tool_names and reply.finish == "stop" else reply.finish
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": self.received.body.get("model", ""),
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": self._logprobs()}],
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, int]:
        tokens_in, tokens_out = self.reply.input_tokens, self.reply.output_tokens
        return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}

    async def events(self) -> AsyncIterator[tuple[bytes, int]]:
        reply = self.reply
        yield self._chunk({"role": "assistant", "content": ""}), 0
        if reply.refusal is not None:
            yield self._chunk({"refusal": reply.refusal}), 0
        elif self.tool_names:
            for index, name in enumerate(self.tool_names):
                call = {"index": index, "id": f"call_{index}", "type": "function"}
                yield self._chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]}), 0
                async for piece in self._pieces():
                    delta = {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                    yield self._chunk(delta), len(piece)
        elif logprobs := self._logprobs():
            for token in logprobs["content"]:
                yield self._chunk({"content": token["token"]}, logprobs={"content": [token]}), len(token["token"])
        else:
            async for piece in self._pieces():
                yield self._chunk({"content": piece}), len(piece)
        finish = "tool_calls" if self.tool_names and reply.finish == "stop" else reply.finish
        yield self._chunk({}, finish), 0
        if (self.received.body.get("stream_options") or {}).get("include_usage"):
            yield self._event({"choices": [], "usage": self._usage()}), 0
        yield b"data: [DONE]\n\n", 0

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, logprobs: dict[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._event({"choices": [choice], "usage": None})

    def _logprobs(self) -> dict[str, Any] | None:
        """The reply's tokens with their alternatives; a token ends where an action's name begins."""
        probabilities = self.reply.refusal_probabilities
        if not probabilities or not self.received.body.get("logprobs"):
            return None
        before, *after = re.split(r'(?<="action_name": ")', self.reply.text)
        tokens: list[dict[str, Any]] = [_token(before, [(before, 1.0)])]
        for part, probability in zip(after, probabilities, strict=True):
            tokens.append(_token(part[:2], [(part[:2], 1 - probability), ("no", probability)]))
            tokens.append(_token(part[2:], [(part[2:], 1.0)]))
        return {"content": tokens}

    def _event(self, fields: dict[str, Any]) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "m", **fields}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _token(text: str, candidates: list[tuple[str, float]]) -> dict[str, Any]:
    top = [{"token": token, "logprob": math.log(probability)} for token, probability in candidates if probability > 0]
    return {"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}


class AnthropicSpeech(Speech):
    def whole(self) -> dict[str, Any]:
        return {
            **self._message(),
            "content": self._content(),
            "stop_reason": self._stop_reason(),
            "usage": self._usage(),
        }

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "stop_sequence": None}
        return {**message, "model": self.received.body.get("model", "")}

    def _usage(self) -> dict[str, int]:
        return {"input_tokens": self.reply.input_tokens, "output_tokens": self.reply.output_tokens}

    def _stop_reason(self) -> str:
        if self.reply.refusal is not None:
            return "refusal"
        if self.reply.finish == "length":
            return "max_tokens"
        return "tool_use" if self.tool_names else "end_turn"

    def _content(self) -> list[dict[str, Any]]:
        reply = self.reply
        if reply.refusal is not None:
            return [{"type": "text", "text": reply.refusal}]
        if not self.tool_names:
            return [{"type": "text", "text": reply.text}] if reply.text else []
        try:
            arguments = json.loads(reply.text)
        except ValueError:
            # The protocol carries an object here; what is not JSON can only come as text.
            return [{"type": "text", "text": reply.text}] if reply.text else []
        return [
            {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
            for i, name in enumerate(self.tool_names)
        ]

    async def events(self) -> AsyncIterator[tuple[bytes, int]]:
        start = {**self._message(), "content": [], "stop_reason": None, "usage": {**self._usage(), "output_tokens": 0}}
        yield self._event("message_start", message=start), 0
        as_tools = bool(self.tool_names) and self.reply.refusal is None
        for index, name in enumerate(self.tool_names if as_tools else ("",)):
            block: dict[str, Any] = {"type": "text", "text": ""}
            if as_tools:
                block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
            yield self._event("content_block_start", index=index, content_block=block), 0
            if self.reply.refusal is not None:
                delta = {"type": "text_delta", "text": self.reply.refusal}
                yield self._event("content_block_delta", index=index, delta=delta), 0
            else:
                async for piece in self._pieces():
                    delta = {"type": "text_delta", "text": piece}
                    if as_tools:
                        delta = {"type": "input_json_delta", "partial_json": piece}
                    yield self._event("content_block_delta", index=index, delta=delta), len(piece)
            yield self._event("content_block_stop", index=index), 0
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage={"output_tokens": self.reply.output_tokens}), 0
        yield self._event("message_stop"), 0

    def _event(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
