"""The run ledger: every call to a model, what came back, what was wrong with it, what it cost."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence

from plangate_core.catalogue.finding import MESSAGE_LIMIT, Finding
from plangate_core.text.truncation import truncate

__all__ = ["Attempt", "AttemptOutcome", "Finding", "GenerationReport", "RawText"]

MAX_ERRORS = 20
"""Errors kept per attempt, as the contract promises."""
MAX_RAW_TEXT = 16_384
"""Characters of a reply kept per attempt, as the contract promises."""

# Of names that the model chose: without a limit ten attempts' errors were more than the store keeps (1 MiB).
_PATH_LIMIT = 200


class AttemptOutcome(enum.StrEnum):
    """How a call to a model ended. Values are the names of the contract's enum without its prefix."""

    VALID = "VALID"
    INVALID_SCHEMA = "INVALID_SCHEMA"
    INVALID_MEANING = "INVALID_MEANING"
    REFUSED = "REFUSED"
    TRUNCATED = "TRUNCATED"
    RATE_LIMITED = "RATE_LIMITED"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    TIMED_OUT = "TIMED_OUT"
    EMPTY = "EMPTY"
    TOO_LARGE = "TOO_LARGE"


class RawText(enum.StrEnum):
    """What becomes of a reply's text in the ledger."""

    KEEP = "keep"
    REDACT = "redact"
    DROP = "drop"


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One call to a model. Tokens are as the provider counted them, 0 when it did not say."""

    number: int
    model: str
    outcome: AttemptOutcome
    errors: tuple[Finding, ...]
    raw_text: str
    input_tokens: int
    output_tokens: int
    duration_seconds: float
    repaired: bool
    start_time: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationReport:
    """How a plan was generated: enough to judge it, to reproduce it, and to see why a model failed.

    actions_shown: of actions_in_catalogue, to the model of the last attempt, actions_shortened of them shortened;
    0 when no model was called. policy_digest and cached are not known to the InstructorClient: the caller sets
    them with ``dataclasses.replace``.
    """

    model: str
    prompt_template_version: str
    catalogue_digest: str
    attempts: tuple[Attempt, ...] = ()
    duration_seconds: float = 0.0
    policy_digest: str = ""
    cached: bool = False
    actions_shown: int = 0
    actions_in_catalogue: int = 0
    actions_shortened: int = 0

    @property
    def input_tokens(self) -> int:
        """Sum over all attempts."""
        return sum(attempt.input_tokens for attempt in self.attempts)

    @property
    def output_tokens(self) -> int:
        """Sum over all attempts."""
        return sum(attempt.output_tokens for attempt in self.attempts)


def bounded_errors(errors: Sequence[Finding]) -> tuple[Finding, ...]:
    """The first errors, as many and as long as an attempt may carry."""
    return tuple(
        dataclasses.replace(
            error, path=truncate(error.path, _PATH_LIMIT), message=truncate(error.message, MESSAGE_LIMIT)
        )
        for error in errors[:MAX_ERRORS]
    )


def recorded_text(text: str, setting: RawText) -> str:
    """The reply as the ledger shows it: whole (up to a limit), only its length, or nothing."""
    if setting is RawText.DROP or not text:
        return ""
    if setting is RawText.REDACT:
        return f"[{len(text)} characters redacted]"
    return truncate(text, MAX_RAW_TEXT)
