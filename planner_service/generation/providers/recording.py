"""Keeps what providers answered, and answers with it later without any provider.

A recording is a file of JSON objects, one a line. The first says what the file is: {"format", "version"}. An exchange
is {"kind": "exchange", "id", "key", "status", "headers", "body"}; its key is SHA-256 over the path and the canonical
JSON of the request's body: the same for any host, any header and any API key, and none of them is written. Bodies are
kept as they came, server-sent events included, so a replay takes every step of the real path but the network. What
became of the exchanges is written beside them: planner_service/replay/plan_recording.py.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import structlog
from pydantic import TypeAdapter, ValidationError

FORMAT = "plangate-recording"
VERSION = 1
_HEADER = {"format": FORMAT, "version": VERSION}
KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms")
_CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization")
_LEAST_SECRET = 8
_LONGEST_LINE = 64 << 20

_log = structlog.get_logger(__name__)


class ReplayMissing(Exception):
    """The recording has no reply to this request."""


class RecordingInvalid(Exception):
    """The file is no recording, or not whole, or cannot be used; says where."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was made and what came back."""

    id: str
    key: str
    status: int
    headers: Mapping[str, str]
    body: str


_EXCHANGE = TypeAdapter(Exchange)


@dataclass(frozen=True, slots=True)
class Recording:
    """All of a file. `plans` as they were written, each with its line's number."""

    exchanges: tuple[Exchange, ...]
    plans: tuple[tuple[int, dict[str, Any]], ...]


def request_key(request: httpx2.Request) -> str:
    """Names a request, its content read, by its path and body, hex."""
    canonical = json.dumps(json.loads(request.content or b"null"), sort_keys=True, separators=(",", ":"))
    path = unquote(urlsplit(str(request.url)).path)
    return hashlib.sha256(f"{path}\n{canonical}".encode()).hexdigest()


class RecordingFile:
    """Appends to a recording, which only its owner can read. Several processes may share one."""

    def __init__(self, path: Path) -> None:
        """Makes the file when there is none. Raises RecordingInvalid."""
        self._path = path
        self._torn = False
        try:
            empty = not path.exists() or path.stat().st_size == 0
            if not empty:
                with path.open("rb") as file:
                    _check_first(path, file.readline(1_000))
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        raise RecordingInvalid(f"{path}: its last line is cut off; record to another file")
        except OSError as error:
            raise _unusable(path, error) from error
        if empty:
            self._write(json.dumps(_HEADER))

    def append(self, kind: str, entry: Mapping[str, Any]) -> None:
        """Write one entry. A disk that does not take it is logged: no plan fails for that."""
        try:
            self._write(json.dumps({"kind": kind, **entry}))
        except RecordingInvalid as error:
            _log.error("the recording lacks an entry", fault=str(error))

    def _write(self, line: str) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                # At once: others may append to the same file. A line that a full disk took a piece of is ended first.
                data = ("\n" * self._torn + line + "\n").encode()
                self._torn = os.write(descriptor, data) < len(data)
                if self._torn:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unusable(self._path, error) from error


def read_recording(path: Path) -> Recording:
    """A whole recording. Raises RecordingInvalid, which names the line."""
    exchanges: list[Exchange] = []
    plans: list[tuple[int, dict[str, Any]]] = []
    try:
        with path.open("rb") as file:
            _check_first(path, file.readline(1_000))
            number = 1
            while line := file.readline(_LONGEST_LINE):
                number += 1
                entry = _entry(path, number, line)
                if entry.get("kind") == "exchange":
                    exchanges.append(_exchange(path, number, line))
                elif entry.get("kind") == "plan":
                    plans.append((number, entry))
                elif entry != _HEADER:
                    # Two processes may have begun the file together.
                    raise RecordingInvalid(f"{path}:{number}: neither an exchange nor a plan")
    except OSError as error:
        raise _unusable(path, error) from error
    return Recording(tuple(exchanges), tuple(plans))


def _check_first(path: Path, line: bytes) -> None:
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise RecordingInvalid(f"{path}: not a recording: its first line does not say {FORMAT}")
    if first.get("version") != VERSION:
        raise RecordingInvalid(f"{path}: a recording of version {first.get('version')!r}; this is for {VERSION}")


def _entry(path: Path, number: int, line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise RecordingInvalid(f"{path}:{number}: cut off; without this line the rest can be replayed")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise RecordingInvalid(f"{path}:{number}: not JSON") from None
    if not isinstance(entry, dict):
        raise RecordingInvalid(f"{path}:{number}: not an object")
    return entry


def _exchange(path: Path, number: int, line: bytes) -> Exchange:
    try:
        return _EXCHANGE.validate_json(line, strict=True)
    except ValidationError:
        raise RecordingInvalid(f"{path}:{number}: not an exchange as it was written") from None


def _unusable(path: Path, error: OSError) -> RecordingInvalid:
    return RecordingInvalid(f"{path}: {error.strerror or error}")


_noted: ContextVar[list[str] | None] = ContextVar("noted_exchanges", default=None)


@contextmanager
def noting_exchanges() -> Iterator[list[str]]:
    """Collects the ids of the exchanges that are recorded for what is done within, tasks begun there included."""
    ids: list[str] = []
    token = _noted.set(ids)
    try:
        yield ids
    finally:
        _noted.reset(token)


class ExchangeRecord:
    """One exchange in the making: `parts` of the body as they come, then `complete`. More than once changes nothing.

    Replies that broke off, or were not read to their end, are not kept.
    """

    def __init__(self, file: RecordingFile, request: httpx2.Request, response: httpx2.Response) -> None:
        self.parts: list[bytes] = []
        self._file = file
        self._request = request
        self._status = response.status_code
        self._headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        self._noted = _noted.get()

    def complete(self) -> None:
        """The reply was read to its end: write it down."""
        parts, self.parts = self.parts, []
        if not parts:
            return
        exchange_id = uuid.uuid4().hex
        # A server that rejects a key may repeat it, in whole or in part.
        body = "{}" if self._status in (401, 403, 407) else b"".join(parts).decode("utf-8", "replace")
        for secret in _secrets(self._request):
            body = body.replace(secret, "[key]")
        self._file.append(
            "exchange",
            {
                "id": exchange_id,
                "key": request_key(self._request),
                "status": self._status,
                "headers": self._headers,
                "body": body,
            },
        )
        if self._noted is not None:
            self._noted.append(exchange_id)


def _secrets(request: httpx2.Request) -> Iterator[str]:
    for name, value in request.headers.items():
        secret = value.rpartition(" ")[2]
        if name.lower() in _CREDENTIALS and len(secret) >= _LEAST_SECRET:
            yield secret


@dataclass(slots=True)
class Expected:
    """The replies that are due, in order, whatever the request. changed: requests that were not those recorded.

    exhausted: a request came after the last of them.
    """

    replies: deque[Exchange]
    changed: int = 0
    exhausted: bool = False

    def next(self, key: str) -> Exchange:
        """The next one. Raises ReplayMissing."""
        if not self.replies:
            self.exhausted = True
            raise ReplayMissing
        exchange = self.replies.popleft()
        self.changed += exchange.key != key
        return exchange


_expected: ContextVar[Expected | None] = ContextVar("expected_replies", default=None)


@contextmanager
def expecting(expected: Expected) -> Iterator[None]:
    """Whatever is requested within is answered with these replies, instead of those recorded for the same request."""
    token = _expected.set(expected)
    try:
        yield
    finally:
        _expected.reset(token)


class Replies:
    """The replies of a recording. Repeated requests get the recorded replies in order, then the last again."""

    def __init__(self, file: Path) -> None:
        """Raises RecordingInvalid."""
        self._replies: dict[str, deque[Exchange]] = defaultdict(deque)
        for exchange in read_recording(file).exchanges:
            self._replies[exchange.key].append(exchange)

    def reply_to(self, request: httpx2.Request) -> Exchange:
        """What was recorded for this request, its content read. Raises ReplayMissing."""
        key = request_key(request)
        if (expected := _expected.get()) is not None:
            return expected.next(key)
        if key not in self._replies:
            raise ReplayMissing
        replies = self._replies[key]
        return replies.popleft() if len(replies) > 1 else replies[0]
