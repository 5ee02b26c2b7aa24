"""What was wrong with a call: SDK exceptions become typed failures, pydantic's findings become attempt errors.

Nothing here passes an exception's text on: it may hold the prompt, the reply or a key.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pydantic

from plangate_core.catalogue.finding import dotted
from planner_service.generation.attempts import MAX_ERRORS, Finding
from planner_service.generation.errors import (
    ConnectionLost,
    CredentialsRejected,
    GenerationFailed,
    PromptTooLong,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnavailable,
    RateLimited,
    ReplyTooLarge,
    RequestRejected,
    ServerFailed,
)
from planner_service.generation.providers.chat import ChatRefused
from planner_service.generation.providers.recording import ReplayMissing
from planner_service.generation.providers.wire import ReplyCompressed, ReplyLimitExceeded

DROPPABLE_PARAMETERS = {
    "temperature": "temperature",
    "random_seed": "extra_body",
    "seed": "seed",
    "stream_options": "stream_options",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""Parameters that a call can do without when a model does not know them: as a provider names them, as we pass them."""

_TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI and most that speak its protocol
        "string_above_max_length",  # OpenAI, one message
        "exceed_context_size_error",  # llama.cpp, the embedded engine among them
        "request_too_large",  # Anthropic
    }
)
_TOO_LONG_WORDS = re.compile(
    "maximum context length"  # OpenAI, vLLM, DeepSeek, OpenRouter
    "|prompt is too long"  # Anthropic
    "|context (?:size|length|window|limit)[^.]{0,40}exceeded|exceeds?[^.]{0,40} context (?:size|length|window|limit)"
    "|input token count[^.]{0,40}exceeds"  # Gemini
    r"|prompt contains [^.]{0,80}too large for model",  # Mistral
    re.IGNORECASE,
)

_EXPECTED_SHOWN = 300
_PROBLEM_CHARACTERS = 500


def provider_failure(model: str, error: BaseException) -> GenerationFailed | None:
    """The typed failure behind whatever an SDK raised; None when it is none of a provider's."""
    for cause in _causes(error):
        if isinstance(cause, ReplyLimitExceeded):
            return ReplyTooLarge(model)
        if isinstance(cause, ReplyCompressed):
            return ServerFailed(model, "the provider compressed its reply although it was not asked to")
        if isinstance(cause, ReplayMissing):
            return ProviderUnavailable(model, "the recording has no reply to this request")
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            return ProviderTimedOut(model)
        status = getattr(cause, "status_code", None)
        if isinstance(status, int):
            return _status_failure(model, status, cause)
        if isinstance(cause, httpx2.TransportError | OSError):
            lost = ConnectionLost(model)
            lost.problem = _connection_problem(cause)
            return lost
        if _is_too_long(cause):
            return PromptTooLong(model)
        # GovernedJobObserver inside a stream: Anthropic's SDK raises its bare APIError for that.
        told = isinstance(cause, ChatRefused) or any(kind.__name__ == "APIError" for kind in type(cause).__mro__)
        if told and cause.__cause__ is None:
            return ServerFailed(model)
    return None


def is_unreadable(error: BaseException) -> bool:
    """Whether an SDK could make nothing of a reply: no JSON, broken text, an encoding that nobody knows."""
    unreadable = (ValueError, LookupError, RecursionError, zlib.error)
    return any(isinstance(cause, unreadable) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """From the exception to its root, the SDK's status errors included; bounded against loops."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _connection_problem(error: BaseException) -> str:
    """Which exceptions they were, and what the system said: of hosts, ports and certificates, not of what was sent."""
    said = [
        f"{type(cause).__name__}: {cause}" if isinstance(cause, OSError) else type(cause).__name__
        for cause in _causes(error)
    ]
    return " < ".join(said)[:_PROBLEM_CHARACTERS]


def _status_failure(model: str, status: int, error: BaseException) -> ProviderFailed:
    headers = getattr(getattr(error, "response", None), "headers", {})
    if status == 429:
        return RateLimited(model, status=status, retry_after_seconds=retry_after(headers))
    if status in (401, 403):
        return CredentialsRejected(model, status=status)
    if status in (408, 504):
        return ProviderTimedOut(model, status=status)
    if status == 413 or _is_too_long(error):
        return PromptTooLong(model, status=status)
    if status >= 500 or status == 409:
        return ServerFailed(
            model, f"{ServerFailed.default_message} ({status})", status=status, retry_after_seconds=retry_after(headers)
        )
    if status < 300:
        # GovernedJobObserver inside a stream that had begun well.
        return ServerFailed(model)
    if status < 400:
        return ServerFailed(model, f"the provider answered with status {status}", status=status)
    rejected = RequestRejected(model, f"{RequestRejected.default_message} ({status})", status=status)
    rejected.parameter = _blamed_parameter(error)
    return rejected


def _is_too_long(error: BaseException) -> bool:
    """Whether a provider complains that the prompt is longer than the model can read.

    Providers agree on no status, code or words for that. Nothing else that they say in a 400 is like these.
    """
    body = getattr(error, "body", None)
    # Anthropic's SDK gives the whole body, OpenAI's what is under "error".
    details = body.get("error", body) if isinstance(body, dict) else {}
    if not isinstance(details, dict):
        return False
    if any(isinstance(details.get(name), str) and details[name] in _TOO_LONG_CODES for name in ("code", "type")):
        return True
    message = details.get("message")
    return isinstance(message, str) and _TOO_LONG_WORDS.search(message[:2_000]) is not None


def _blamed_parameter(error: BaseException) -> str:
    """The parameter that a 4xx complains about, if it is one that a call can do without."""
    said = f"{getattr(error, 'param', None) or ''} {getattr(error, 'message', '')}"[:2_000]
    return next((ours for theirs, ours in DROPPABLE_PARAMETERS.items() if theirs in said), "")


def retry_after(headers: Any, now: dt.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110: seconds or a date; some providers add milliseconds)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1_000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - (now or dt.datetime.now(dt.UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def schema_errors(invalid: pydantic.ValidationError, reply: Any, known_actions: Sequence[str]) -> list[Finding]:
    """Pydantic's findings as the contract shows them.

    :param reply: the parsed reply, to tell real keys in pydantic's locations from names of union members
    :param known_actions: shown, within limits, when the reply names another
    """
    found = invalid.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    errors = [_schema_error(each, reply, known_actions) for each in found]
    # Pydantic counts only the valid items of a tuple: "too short" beside errors of its items is not so.
    return [
        error
        for error in errors
        if error.type != "too_short" or not any(other.path.startswith(f"{error.path}.") for other in errors)
    ]


def _schema_error(found: Any, reply: Any, known_actions: Sequence[str]) -> Finding:
    path = dotted(_real_location(found["loc"], found["type"], reply))
    if path.endswith("action_name") and found["type"] in ("literal_error", "enum"):
        shown = ", ".join(known_actions)
        if len(shown) > _EXPECTED_SHOWN:
            shown = shown[:_EXPECTED_SHOWN].rsplit(", ", 1)[0] + ", …"
        return Finding(path, "unknown_action", f"There is no such action. The actions are: {shown}")
    return Finding(path, found["type"], found["msg"])


def _real_location(location: tuple[str | int, ...], kind: str, reply: Any) -> list[str | int]:
    parts: list[str | int] = []
    here = reply
    for place, part in enumerate(location):
        in_dict = isinstance(here, dict) and part in here
        in_list = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if in_dict or in_list:
            here = here[part]
        elif not (place == len(location) - 1 and kind == "missing"):
            continue
        parts.append(part)
    return parts
