"""Checks of fields against the contract's limits. Each raises InvalidField with the field's path as on the wire."""

from collections.abc import Mapping, Sequence

from plangate_core.contract.limits import (
    FAILURE_REASON,
    JOB_ID,
    LABEL_KEY,
    MAX_APPROVAL_TTL_SECONDS,
    MAX_FAILURE_MESSAGE_CHARACTERS,
    MAX_LABEL_VALUE_CHARACTERS,
    MAX_LABELS,
    MAX_LEASE_SECONDS,
    MAX_NAME_CHARACTERS,
    MAX_RETRY_DELAY_SECONDS,
    MIN_LEASE_SECONDS,
    REQUEST_ID,
)
from store_service.domain.errors import InvalidField
from store_service.domain.instant import SECOND, Micros

# A claim takes no more once it has so much, and what it took last stays below MAX_PLAN_BYTES.
ENOUGH_CLAIMED_BYTES = 1024 * 1024
MIN_LEASE: Micros = MIN_LEASE_SECONDS * SECOND
MAX_LEASE: Micros = MAX_LEASE_SECONDS * SECOND
MAX_RETRY_DELAY: Micros = MAX_RETRY_DELAY_SECONDS * SECOND
MAX_APPROVAL_TTL: Micros = MAX_APPROVAL_TTL_SECONDS * SECOND

INT64 = range(-(2**63), 2**63)


def text(path: str, value: str, limit: int, *, required: bool = False) -> None:
    """At most `limit` characters, no NUL (PostgreSQL cannot store it). White space alone is nothing."""
    if required and (not value or value.isspace()):
        raise InvalidField(path, "is required")
    if len(value) > limit:
        raise InvalidField(path, f"must be at most {limit} characters")
    if "\0" in value:
        raise InvalidField(path, "must not contain NUL")


def number(path: str, value: int, low: int, high: int) -> None:
    """A whole number from low to high."""
    if not low <= value <= high:
        raise InvalidField(path, f"must be from {low} to {high}")


def labels(path: str, value: Mapping[str, str]) -> None:
    """At most 64, keys like `team` or `cost.centre`, values of at most 256 characters."""
    if len(value) > MAX_LABELS:
        raise InvalidField(path, f"must have at most {MAX_LABELS} entries")
    for key, content in value.items():
        if not LABEL_KEY.fullmatch(key):
            raise InvalidField(f'{path}["{key[:64]}"]', f"key must match {LABEL_KEY.pattern}")
        text(f'{path}["{key}"]', content, MAX_LABEL_VALUE_CHARACTERS)


def count(path: str, items: Sequence[object], limit: int, *, least: int = 0) -> None:
    """At least `least` and at most `limit` entries."""
    if len(items) > limit:
        raise InvalidField(path, f"must have at most {limit} entries")
    if len(items) < least:
        raise InvalidField(path, f"must have at least {least}")


def job_id(path: str, value: str) -> None:
    """An id that is unique in its plan, given by the client."""
    if not JOB_ID.fullmatch(value):
        raise InvalidField(path, f"must match {JOB_ID.pattern}")


def resource_id(path: str, value: str) -> None:
    """An id given by the store: anything else cannot exist, but must be given and short."""
    text(path, value, MAX_NAME_CHARACTERS, required=True)


def request_id(value: str) -> None:
    """A UUID in its usual form."""
    if not REQUEST_ID.fullmatch(value):
        raise InvalidField("request_id", "must be a UUID")


def lease_duration(value: Micros | None) -> None:
    """1 s to 1 h."""
    if value is not None and not MIN_LEASE <= value <= MAX_LEASE:
        raise InvalidField("lease_duration", "must be from 1 s to 1 h")


def failure(path: str, reason: str, message: str) -> None:
    """An UPPER_SNAKE_CASE reason and a text."""
    if not FAILURE_REASON.fullmatch(reason):
        raise InvalidField(f"{path}.reason", "must be UPPER_SNAKE_CASE of at most 64 characters")
    text(f"{path}.message", message, MAX_FAILURE_MESSAGE_CHARACTERS)


def expected_version(value: int, *, required: bool = False) -> None:
    """A version that can exist; 0 means any, where that is allowed."""
    if value < 0 or (required and value == 0):
        raise InvalidField("expected_version", "must be the version that was read")
