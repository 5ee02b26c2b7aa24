"""Replies in Anthropic's protocol: whole messages, and streams of events. Both as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from planner_service.generation.reply.reply import Reply, StreamReader, text_of


def read_message(body: Mapping[str, Any]) -> Reply:
    """The reply in a message. Raises TypeError, LookupError, AttributeError for what is not one."""
    content = body["content"]
    if not isinstance(content, list):
        raise TypeError("content is a list of blocks")
    calls = [block for block in content if block["type"] == "tool_use"]
    reply = Reply(tool_names=[text_of(block["name"]) for block in calls])
    if calls:
        reply.text = json.dumps(calls[0]["input"], ensure_ascii=False)
    else:
        reply.text = "".join(text_of(block.get("text")) for block in content if block["type"] == "text")
    reply.finished(body.get("stop_reason"))
    reply.count(body.get("usage"))
    return reply


class MessageEvents(StreamReader):
    """Reads a stream of events."""

    def __init__(self) -> None:
        super().__init__()
        self._call: Any = None

    def hear(self, event: Any) -> str:
        piece = ""
        match event.get("type"):
            case "message_start":
                self.begun = True
                self._reply.count(event["message"].get("usage"))
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                if not self._reply.tool_names:
                    self._pieces.clear()  # text before the call is not part of it
                    self._call = event.get("index")
                self._reply.tool_names.append(text_of(event["content_block"]["name"]))
            case "content_block_delta":
                piece = self._hear_delta(event)
            case "message_delta":
                self._reply.finished(event["delta"].get("stop_reason"))
                self._reply.count(event.get("usage"))
            case _:
                pass
        self._pieces.append(piece)
        return piece

    def _hear_delta(self, event: Mapping[str, Any]) -> str:
        delta = event["delta"]
        if delta["type"] == "input_json_delta" and self._reply.tool_names and event.get("index") == self._call:
            return text_of(delta["partial_json"])
        if delta["type"] == "text_delta" and not self._reply.tool_names:
            return text_of(delta["text"])
        return ""
