"""What was wrong with a reply or a call: pydantic's findings become attempt errors, SDK exceptions typed failures.

An exception's own text is not passed on: it may hold the prompt, the reply or a key.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pydantic

from plangate_core.catalogue.finding import dotted
from planner_service.generation.attempts import MAX_ERRORS, Finding
from planner_service.generation.errors import (
    ConnectionLost,
    GenerationFailed,
    ProviderTimedOut,
    ProviderUnavailable,
    ReplyTooLarge,
    ServerFailed,
)
from planner_service.generation.providers.complaint import Complaint, body_of, complaint_of, failure_of
from planner_service.generation.providers.recording import ReplayMissing
from planner_service.generation.providers.transport import ReplyCompressed, ReplyLimitExceeded

_EXPECTED_SHOWN = 300
_PROBLEM_CHARACTERS = 500


def provider_failure(model: str, error: BaseException, *, key: str = "") -> GenerationFailed | None:
    """The typed failure behind whatever an SDK raised; None when it is none of a provider's.

    :param key: that the call was made with, to be masked in what the provider says
    """
    for cause in causes(error):
        if isinstance(cause, ReplyLimitExceeded):
            return ReplyTooLarge(model)
        if isinstance(cause, ReplyCompressed):
            return ServerFailed(model, "the provider compressed its reply in a way that is not read")
        if isinstance(cause, ReplayMissing):
            return ProviderUnavailable(model, "the recording has no reply to this request")
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            return ProviderTimedOut(model)
        if (complaint := _complaint_in(cause, key)) is not None:
            response = getattr(cause, "response", None)
            return failure_of(complaint, model, retry_after(getattr(response, "headers", {})))
        if isinstance(cause, httpx2.TransportError | OSError):
            lost = ConnectionLost(model)
            lost.problem = _connection_problem(cause)
            return lost
    return None


def is_unreadable(error: BaseException) -> bool:
    """Whether an SDK could make nothing of an answer: no JSON, broken text, an encoding that is not known."""
    unreadable = (ValueError, LookupError, RecursionError, zlib.error, httpx2.DecodingError)
    return any(isinstance(cause, unreadable) for cause in causes(error))


def _complaint_in(error: BaseException, key: str) -> Complaint | None:
    """The complaint in an SDK's exception: one with a status and a response, or one raised inside a stream."""
    status, body = getattr(error, "status_code", None), getattr(error, "body", None)
    if isinstance(status, int):
        with contextlib.suppress(AttributeError, httpx2.ResponseNotRead):
            body = body_of(error.response.content)  # type: ignore[attr-defined]  # of all SDKs' status errors
        # Raised inside a stream that had begun well, where the status says nothing.
        complaint = complaint_of(status, _as_error(body) if status < 300 else body, key=key)
        return complaint or Complaint(status, frozenset(), "")
    # An error inside a stream: the SDKs' bare APIError.
    if body is not None and hasattr(error, "request"):
        return complaint_of(200, _as_error(body), key=key)
    return None


def _as_error(body: Any) -> Any:
    return body if isinstance(body, dict) and body.get("error") else {"error": body}


def causes(error: BaseException) -> Iterator[BaseException]:
    """From the exception to its root, the SDK's status errors included; bounded against loops."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _connection_problem(error: BaseException) -> str:
    """Which exceptions they were, and the system's message: of hosts, ports and certificates, not of what was sent."""
    kinds = [
        f"{type(cause).__name__}: {cause}" if isinstance(cause, OSError) else type(cause).__name__
        for cause in causes(error)
    ]
    return " < ".join(kinds)[:_PROBLEM_CHARACTERS]


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


def schema_errors(invalid: pydantic.ValidationError, known_actions: Sequence[str]) -> list[Finding]:
    """Pydantic's findings as the contract shows them; the known actions, within limits, where there is another."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    return [_schema_error(each, known_actions) for each in found]


def _schema_error(found: Any, known_actions: Sequence[str]) -> Finding:
    path = dotted(found["loc"])
    if path.endswith("action_name") and found["type"] == "literal_error":
        shown = ", ".join(known_actions)
        if len(shown) > _EXPECTED_SHOWN:
            shown = shown[:_EXPECTED_SHOWN].rsplit(", ", 1)[0] + ", …"
        return Finding(path, "unknown_action", f"There is no such action. The actions are: {shown}")
    return Finding(path, found["type"], found["msg"])
