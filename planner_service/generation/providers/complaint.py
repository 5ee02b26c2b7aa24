"""What a provider says is wrong, in whatever form it says it, and which failure that is.

What an error says decides before its status: a content filter's 400 is a refusal, an error under status 200 is what
its code says.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate
from planner_service.generation.errors import (
    CredentialsRejected,
    CreditSpent,
    GenerationFailed,
    ModelRefused,
    ModelUnknown,
    PromptTooLong,
    ProviderTimedOut,
    RateLimited,
    RejectedByServer,
    RequestRejected,
    ServerFailed,
)

MAX_REASON = 300
"""Characters of a provider's own words that a failure may carry."""
_MAX_READ = 4_000
_LEAST_SECRET = 8

_REFUSAL_CODES = frozenset(
    {
        "content_filter",  # OpenAI, Azure
        "content_policy_violation",
        "responsibleaipolicyviolation",  # Azure, an inner error
        "data_inspection_failed",  # Qwen
        "moderation_blocked",
        "prohibited_content",
        "invalid_prompt",  # OpenAI's reasoning models: the prompt violates the usage policy
        "safety",
    }
)
_MODELS_MISTAKE_CODES = frozenset(
    {
        "tool_use_failed",  # Groq
        "json_validate_failed",  # Groq
        "output_parse_failed",
        "malformed_function_call",  # Gemini
        "model_output_error",
    }
)
_CREDIT_CODES = frozenset(
    {
        "insufficient_quota",  # OpenAI
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",  # Anthropic
        "insufficient_balance",  # DeepSeek
        "payment_required",
        "credit_balance_too_low",
    }
)
_TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI and most that speak its protocol
        "string_above_max_length",  # OpenAI, one message
        "exceed_context_size_error",  # llama.cpp, the embedded engine among them
        "request_too_large",  # Anthropic
    }
)
_STATUS_OF_TYPES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "timeout_error": 504,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 529,
}
_CREDIT_WORDS = re.compile(r"credit balance is too low|insufficient (?:credits?|balance|quota|funds)", re.IGNORECASE)
_TOO_LONG_WORDS = re.compile(
    "maximum context length"  # OpenAI, vLLM, DeepSeek, OpenRouter
    "|prompt is too long"  # Anthropic
    "|context (?:size|length|window|limit)[^.]{0,40}exceeded|exceeds?[^.]{0,40} context (?:size|length|window|limit)"
    "|input token count[^.]{0,40}exceeds"  # Gemini
    r"|prompt contains [^.]{0,80}too large for model",  # Mistral
    re.IGNORECASE,
)
# Prefixes of providers' keys, long runs of letters and digits, and whatever follows "Bearer".
_KEY = re.compile(
    r"\b(?:sk|pk|gsk|rk|xai|key|tok|token|hf|r8)[-_][\w*.-]{4,}|\bAIza[\w*-]{8,}"
    r"|\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}\b|(?i:\bbearer\s+)\S+"
)
PARAMETERS = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "random_seed",
    "seed",
    "stream_options",
    "parallel_tool_calls",
    "top_logprobs",
    "logprobs",
)
"""Parameters that a call can do without, or that have another name elsewhere: as servers name them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Complaint:
    """An error of a provider. status: HTTP's, or the one that the error itself names; 0 when there is none.

    names: its codes and types, in small letters. message: its words, as they came. parameters: the ones that it names.
    """

    status: int
    names: frozenset[str]
    message: str
    parameters: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The provider's words for people: one line, bounded, with whatever looks like a key masked."""
        return truncate(visible(" ".join(_KEY.sub("[key]", self.message).split())), MAX_REASON)


def complaint_of(status: int, body: Any, *, key: str = "") -> Complaint | None:
    """The error in an answer's body: JSON, as it was parsed, or text. None when a body under 200 to 299 holds none.

    Known forms: {"error": {...}}, {"error": "text"}, {"errors": [...]}, {"detail": ...}, {"message": ..., "code": ...},
    {"choices": [{"error": ...}]}, and plain text.

    :param key: that the call was made with; a server that rejects a key may repeat it
    """
    found = list(_errors(body)) if status < 300 else list(_errors(body)) or [body]
    if not found:
        return None
    words: list[str] = []
    names: list[str] = []
    parameters: list[str] = []
    for error in found:
        _collect(error, words, names, parameters, 0)
    message = "; ".join(dict.fromkeys(words))[:_MAX_READ]
    if len(key) >= _LEAST_SECRET:
        message = message.replace(key, "[key]")
    parameters += [name for name in PARAMETERS if re.search(rf"(?<!\w){name}(?!\w)", message)]
    numbers = [int(name) for name in names if name.isdecimal() and 400 <= int(name) < 600]
    if status < 300:
        status = next(iter([*numbers, *(_STATUS_OF_TYPES[name] for name in names if name in _STATUS_OF_TYPES)]), 0)
    return Complaint(status, frozenset(names), message, tuple(dict.fromkeys(parameters)))


def failure_of(complaint: Complaint, model: str, retry_after_seconds: float | None = None) -> GenerationFailed:
    """The failure that a complaint is."""
    status, names, reason = complaint.status, complaint.names, complaint.reason
    if names & _REFUSAL_CODES:
        return ModelRefused(model)
    if names & _MODELS_MISTAKE_CODES:
        return RejectedByServer(model)
    if names & _TOO_LONG_CODES or status == 413 or _TOO_LONG_WORDS.search(complaint.message):
        return PromptTooLong(model)
    if names & _CREDIT_CODES or status == 402 or _CREDIT_WORDS.search(complaint.message):
        return CreditSpent(model, reason=reason, status=status)
    if status == 429:
        return RateLimited(model, retry_after_seconds=retry_after_seconds)
    if status in (401, 403):
        return CredentialsRejected(model, reason=reason, status=status)
    if status in (408, 504):
        return ProviderTimedOut(model)
    if status == 404:
        return ModelUnknown(model, reason=reason, status=status)
    if 400 <= status < 500 and status not in (409, 425):
        return RequestRejected(model, reason=reason, status=status, parameters=complaint.parameters)
    message = f"{ServerFailed.default_message} ({status})" if status else ""
    failed = ServerFailed(model, message, retry_after_seconds=retry_after_seconds)
    failed.problem = reason
    return failed


def body_of(content: bytes) -> Any:
    """An answer's body as `complaint_of` takes it: JSON, or else text."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content[:_MAX_READ].decode("utf-8", "replace")


def _errors(body: Any) -> Iterator[Any]:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # Gemini
    if not isinstance(body, Mapping):
        return
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and choice.get("error"):
            yield choice["error"]
    for name in ("error", "errors", "detail"):
        if body.get(name):
            yield body[name]
    if body.get("object") == "error" or (
        isinstance(body.get("message"), str) and "choices" not in body and "role" not in body
    ):
        yield body


def _collect(error: Any, words: list[str], names: list[str], parameters: list[str], depth: int) -> None:
    """The words, codes and parameters of an error and of those within it."""
    if isinstance(error, str):
        words.append(error[:_MAX_READ])
    elif isinstance(error, list) and depth < 4:
        for each in error[:8]:
            _collect(each, words, names, parameters, depth + 1)
    elif isinstance(error, Mapping) and depth < 4:
        for name in ("code", "type", "status"):
            value = error.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                names.append(str(value)[:80].casefold())
        if isinstance(error.get("failed_generation"), str):
            names.append("tool_use_failed")
        if isinstance(error.get("param"), str):
            parameters.append(error["param"][:80])
        if isinstance(place := error.get("loc"), list):
            # FastAPI: where in the request; the value there, which it also tells, is not repeated.
            names_of_place = [str(part)[:80] for part in place[:4] if part != "body"]
            parameters.extend(names_of_place[-1:])
            words.append(f"{'.'.join(names_of_place)}: {error.get('msg', '')}"[:_MAX_READ])
        for name in ("message", "msg", "error", "errors", "detail", "innererror", "inner_error", "metadata", "raw"):
            if name in error and not (name == "msg" and "loc" in error):
                _collect(error[name], words, names, parameters, depth + 1)
