"""Replies in OpenAI's protocol: whole completions, and streams of chunks. Both as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner_service.generation.reply.reply import Reply, StreamReader, text_of


def read_completion(body: Mapping[str, Any]) -> Reply:
    """The reply in a completion. Raises TypeError, LookupError, AttributeError for what is not one."""
    choice = body["choices"][0]
    message = choice["message"]
    reply = Reply(refused=message.get("refusal") is not None or _has_refusal(message.get("content")))
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if not calls and message.get("function_call"):
        calls = [message["function_call"]]
    reply.tool_names = [_name(call) for call in calls]
    reply.text = text_of(calls[0].get("arguments") if calls else message.get("content"))
    reply.finished(choice.get("finish_reason"))
    reply.count(body.get("usage"))
    reply.token_logprobs = _logprobs(choice)
    return reply


class CompletionChunks(StreamReader):
    """Reads a stream of chunks."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Any] = []

    def hear(self, event: Any) -> str:
        self._reply.count(event.get("usage"))
        choices = event.get("choices")
        if not choices:
            return ""
        choice = choices[0]
        self._reply.token_logprobs.extend(_logprobs(choice))
        self._reply.finished(choice.get("finish_reason"))
        # Some servers say all of it once more at the end, as a message.
        delta = choice.get("delta") or {}
        self.begun = True
        if delta.get("refusal") or _has_refusal(delta.get("content")):
            self._reply.refused = True
        piece = self._hear_calls(delta)
        if not self._reply.tool_names:
            piece += text_of(delta.get("content"))
        self._pieces.append(piece)
        return piece

    def _hear_calls(self, delta: Mapping[str, Any]) -> str:
        piece = ""
        calls = list(delta.get("tool_calls") or ())
        if not calls and delta.get("function_call"):
            calls = [{"function": delta["function_call"]}]
        for call in calls:
            function = call.get("function") or {}
            # Servers begin to count at 0, 1 or -1, or do not count. Those that repeat the name keep the index.
            index = call.get("index")
            if index not in self._calls:
                if not self._calls:
                    self._pieces.clear()  # text before the call is not part of it
                self._calls.append(index)
                self._reply.tool_names.append("")
            place = self._calls.index(index)
            self._reply.tool_names[place] = self._reply.tool_names[place] or _name(function)
            if place == 0:
                piece += text_of(function.get("arguments"))
        return piece


def _name(call: Mapping[str, Any]) -> str:
    """Empty when the server leaves it out, or has not told it yet."""
    name = call.get("name")
    if name is not None and not isinstance(name, str):
        raise TypeError("the name of a tool is a text")
    return name or ""


def _has_refusal(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "refusal" for part in content
    )


def _logprobs(choice: Mapping[str, Any]) -> list[Any]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []
