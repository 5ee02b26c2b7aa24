"""Keeps what providers answered, and answers with it later without any provider.

One JSON object a line: {"key", "status", "headers", "body"}. The key is SHA-256 over the path and the canonical JSON of
the request's body, so it is the same for any host, any header and any API key; none of them is written. Bodies are
kept as they came, server-sent events included, so a replay takes every step of the real path but the network.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms")


class ReplayMissing(Exception):
    """The recording has no reply to this request."""


def request_key(path: str, body: bytes) -> str:
    """Names a request by what is asked, hex."""
    canonical = json.dumps(json.loads(body or b"null"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{path}\n{canonical}".encode()).hexdigest()


class Recorder:
    """Appends every complete reply to a file. Replies that broke off, or were not read to their end, are not kept."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def recorded(self, response: httpx2.Response, stream: httpx2.AsyncByteStream) -> httpx2.AsyncByteStream:
        """The same stream, written down when it has been read to its end."""
        body = await response.request.aread()
        return _RecordedStream(self, response, request_key(response.request.url.path, body), stream)

    def write(self, key: str, response: httpx2.Response, body: bytes) -> None:
        """Append one reply."""
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        entry = {
            "key": key,
            "status": response.status_code,
            "headers": headers,
            "body": body.decode("utf-8", "replace"),
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class _RecordedStream(httpx2.AsyncByteStream):
    def __init__(self, recorder: Recorder, response: httpx2.Response, key: str, stream: httpx2.AsyncByteStream) -> None:
        self._recorder = recorder
        self._response = response
        self._key = key
        self._stream = stream
        self._parts: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._parts.append(part)
            yield part
        self._write()

    async def aclose(self) -> None:
        # OpenAI's events are read to the last one, not to the end.
        if self._parts and self._parts[-1].rstrip().endswith(b"[DONE]"):
            self._write()
        await self._stream.aclose()

    def _write(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._recorder.write(self._key, self._response, b"".join(parts))


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Answers requests from a recording. Repeated requests get the recorded replies in order, then the last again."""

    def __init__(self, file: Path) -> None:
        self._replies: dict[str, deque[tuple[int, dict[str, str], str]]] = defaultdict(deque)
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                self._replies[entry["key"]].append((entry["status"], entry["headers"], entry["body"]))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        key = request_key(request.url.path, await request.aread())
        if key not in self._replies:
            raise ReplayMissing
        replies = self._replies[key]
        status, headers, body = replies.popleft() if len(replies) > 1 else replies[0]
        return httpx2.Response(status, headers=headers, content=body.encode())
