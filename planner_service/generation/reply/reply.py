"""A model's reply in one form, whatever protocol it came in."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

_REASONS = {
    "refused": "content_filter refusal safety prohibited_content blocklist recitation spii guardrail_intervened",
    "length": "length max_tokens max_output_tokens model_length model_context_window_exceeded",
    "malformed": "malformed_function_call malformed_model_output malformed_tool_use",
    "failed": "error internal_error",
}
_FINISHES = {reason: finish for finish, reasons in _REASONS.items() for reason in reasons.split()}


@dataclasses.dataclass(slots=True)
class Reply:
    """What came back, and how it ended.

    text: the JSON that was due (a tool's arguments, or the content), or whatever came instead.
    finish: "stop", "length" (cut off at the output limit), "malformed" (the server could not read what the model
    wrote), "failed" (the server broke down), or "" (it did not tell).
    tool_names: tools called, in order; empty texts for calls without a name.
    Tokens as the provider counted them, 0 when it did not say.
    token_logprobs: each token with its likeliest alternatives, in the provider's form, where they were requested.
    """

    text: str = ""
    finish: str = ""
    refused: bool = False
    tool_names: list[str] = dataclasses.field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    token_logprobs: list[Any] = dataclasses.field(default_factory=list)

    def finished(self, reason: Any) -> None:
        """Takes the provider's reason for the end; None and "" say nothing."""
        if isinstance(reason, str) and reason:
            finish = _FINISHES.get(reason.casefold(), "stop")
            self.refused = self.refused or finish == "refused"
            self.finish = "stop" if finish == "refused" else finish

    def count(self, usage: Any) -> None:
        """Takes the provider's counts in any of the known forms. What is not of them says nothing.

        Anthropic counts what came from or went to its prompt cache apart.
        """
        if isinstance(usage, list) and usage:
            usage = usage[-1]
        if not isinstance(usage, dict):
            return
        read = ("prompt_tokens", "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        written = ("completion_tokens", "output_tokens")
        self.input_tokens = sum(_tokens(usage.get(name)) for name in read) or self.input_tokens
        self.output_tokens = sum(_tokens(usage.get(name)) for name in written) or self.output_tokens


class StreamReader:
    """Reads a streamed reply. `begun`: at least one event was of its protocol."""

    def __init__(self) -> None:
        self.begun = False
        self._reply = Reply()
        self._pieces: list[str] = []

    def hear(self, event: Any) -> str:
        """Takes one event, as plain JSON; returns the piece of text that it carried.

        Raises TypeError, LookupError, AttributeError for what is not an event.
        """
        raise NotImplementedError

    def reply(self) -> Reply:
        """All that came."""
        self._reply.text = "".join(self._pieces)
        return self._reply


def text_of(value: Any) -> str:
    """The text, which may be missing, in parts, or an object where JSON as text was due.

    Of a list of parts the texts are joined, and parts of thinking left out. Raises TypeError for anything else.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "".join(_part_text(part) for part in value)
    raise TypeError("neither a text nor parts of one")


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise TypeError("a part of a text is an object")
    if part.get("type", "text") in ("text", "output_text"):
        return text_of(part.get("text"))
    return ""


def _tokens(count: Any) -> int:
    if isinstance(count, str) and count.isdecimal() and len(count) < 16:
        count = int(count)
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1 << 53 else 0
