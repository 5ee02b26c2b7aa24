"""The documented sizes of fields. Each check raises InvalidField with the field's path as on the wire."""

import re
from collections.abc import Mapping, Sequence

from store_service.domain.errors import InvalidField
from store_service.domain.instant import SECOND, Micros

MAX_BATCH = 100
MAX_LABELS = 64
MAX_LABEL_VALUE = 256
MAX_DEPENDENCIES = 64
MAX_ATTEMPTS = 100
MAX_REQUIRED_APPROVALS = 100
MAX_PRIORITY = 1000
MAX_NAME = 128
MAX_COMMENT = 2_000
MAX_DESCRIPTION = 2_000
MAX_EVIDENCE = 4_000
MAX_FAILURE_MESSAGE = 4_000
MAX_PROMPT = 32_768
MAX_OBJECTIVE = 2_000
MAX_JOBS = 100
MAX_WARNINGS = 100
MAX_GENERATION_BYTES = 1024 * 1024
MAX_ACTION_NAMES = 1_000
# gRPC clients take 4 MiB unless told otherwise. A plan has room for what events and lists add to it, and for the reason
# of its end; a claim takes no more once it has so much, and what it took last stays below the rest.
MAX_PLAN_BYTES = 4 * 1024 * 1024 - 64 * 1024
ENOUGH_CLAIMED_BYTES = 1024 * 1024
MIN_LEASE: Micros = SECOND
MAX_LEASE: Micros = 3_600 * SECOND
# A Timestamp ends with the year 9999; nobody can write a later one as JSON.
MAX_APPROVAL_TTL: Micros = 36_500 * 86_400 * SECOND

INT64 = range(-(2**63), 2**63)
LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FAILURE_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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


def priority(path: str, value: int) -> None:
    """-1000 to 1000."""
    number(path, value, -MAX_PRIORITY, MAX_PRIORITY)


def labels(path: str, value: Mapping[str, str]) -> None:
    """At most 64, keys like `team` or `cost.centre`, values of at most 256 characters."""
    if len(value) > MAX_LABELS:
        raise InvalidField(path, f"must have at most {MAX_LABELS} entries")
    for key, content in value.items():
        if not LABEL_KEY.fullmatch(key):
            raise InvalidField(f'{path}["{key[:64]}"]', "key must match [a-z][a-z0-9_.-]{0,62}")
        text(f'{path}["{key}"]', content, MAX_LABEL_VALUE)


def count(path: str, items: Sequence[object], limit: int, *, least: int = 0) -> None:
    """At least `least` and at most `limit` entries."""
    if len(items) > limit:
        raise InvalidField(path, f"must have at most {limit} entries")
    if len(items) < least:
        raise InvalidField(path, f"must have at least {least}")


def job_id(path: str, value: str) -> None:
    """An id that is unique in its plan, given by the client."""
    if not _JOB_ID.fullmatch(value):
        raise InvalidField(path, "must match [A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def resource_id(path: str, value: str) -> None:
    """An id given by the store: anything else cannot exist, but must be given and short."""
    text(path, value, MAX_NAME, required=True)


def request_id(value: str) -> None:
    """A UUID in its usual form."""
    if not _UUID.fullmatch(value):
        raise InvalidField("request_id", "must be a UUID")


def lease_duration(value: Micros | None) -> None:
    """1 s to 1 h."""
    if value is not None and not MIN_LEASE <= value <= MAX_LEASE:
        raise InvalidField("lease_duration", "must be from 1 s to 1 h")


def failure(path: str, reason: str, message: str) -> None:
    """An UPPER_SNAKE_CASE reason and a text."""
    if not _FAILURE_REASON.fullmatch(reason):
        raise InvalidField(f"{path}.reason", "must be UPPER_SNAKE_CASE of at most 64 characters")
    text(f"{path}.message", message, MAX_FAILURE_MESSAGE)


def expected_version(value: int, *, required: bool = False) -> None:
    """A version that can exist; 0 means any, where that is allowed."""
    if value < 0 or (required and value == 0):
        raise InvalidField("expected_version", "must be the version that was read")
