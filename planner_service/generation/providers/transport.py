"""The HTTP under the providers' SDKs: one httpx2 transport that bounds, records and replays replies.

SDKs read a reply whole into memory before anybody can object. Here its body is wrapped before it is read: what is
beyond the limit is never read, and a compressed reply, whose size says nothing, is decompressed within the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2

from planner_service.generation.providers.recording import ExchangeRecord, RecordingFile, Replies
from planner_service.generation.settings import GenerationSettings

KEEPALIVE_SECONDS = 30.0
_STALE_CONNECTIONS = 8
"""Connections found dead in a row before a request fails."""
_STALE_SECONDS = 2.0
"""A dead connection shows within a way there and back. A server that took longer to hang up was at work."""
_REST_SECONDS = 0.05
_TAIL_BYTES = 256
_DONE = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)")
_GZIP_OR_ZLIB = 47
_DECOMPRESSED_AT_ONCE = 65_536


class ReplyLimitExceeded(Exception):
    """The reply has more bytes than may be read."""


class ReplyCompressed(Exception):
    """The reply is compressed in a way that is not read."""


class ModelTransport(httpx2.AsyncBaseTransport):
    """The way to one provider, for its SDK. The proxy settings of the environment are respected.

    :param recording: every complete reply is written to it
    """

    def __init__(self, settings: GenerationSettings, recording: RecordingFile | None) -> None:
        """Raises RecordingInvalid."""
        self._settings = settings
        self._recording = recording
        self._replies = None if settings.replay_file is None else Replies(settings.replay_file)
        self._pool: httpx2.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, its body bounded and not read yet. Raises httpx2.TransportError, ReplayMissing."""
        await request.aread()
        if self._replies is not None:
            exchange = self._replies.reply_to(request)
            data = exchange.body.encode()
            headers = _headers(request, exchange.status, httpx2.Headers(dict(exchange.headers)), data.lstrip())
            return httpx2.Response(exchange.status, headers=headers, content=data, request=request)
        response = await self._send(request)
        try:
            return await self._bounded(request, response)
        except BaseException:
            await response.aclose()
            raise

    async def aclose(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Sends until a connection is found that the server has not closed meanwhile.

        Nothing is sent twice to a server that may have begun to answer: only a connection that was idle before is
        given up for another.
        """
        clock = asyncio.get_running_loop().time
        pool = self._opened(request.url)
        for _ in range(_STALE_CONNECTIONS):
            opened: list[str] = []
            request.extensions = {**request.extensions, "trace": _note_connect(opened)}
            sent_at = clock()
            try:
                return await pool.handle_async_request(request)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if opened or clock() - sent_at > _STALE_SECONDS:
                    raise
        raise httpx2.ConnectError("")

    def _opened(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        if self._pool is None:
            proxy = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
            self._pool = httpx2.AsyncHTTPTransport(
                limits=httpx2.Limits(
                    max_connections=self._settings.max_connections,
                    max_keepalive_connections=self._settings.max_connections,
                    keepalive_expiry=KEEPALIVE_SECONDS,
                ),
                proxy=proxy if proxy is None or "://" in proxy else f"http://{proxy}",
            )
        return self._pool

    async def _bounded(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        limit = self._settings.max_reply_bytes
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ReplyCompressed
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise ReplyLimitExceeded
        record = None if self._recording is None else ExchangeRecord(self._recording, request, response)
        stream = _BoundedStream(response.stream, limit, record, compressed=encoding not in ("", "identity"))
        beginning = await stream.beginning() if _is_streamed(request, response.status_code) else b""
        headers = _headers(request, response.status_code, response.headers, beginning)
        return httpx2.Response(response.status_code, headers=headers, stream=stream, request=request)


def sdk_client(settings: GenerationSettings, recording: RecordingFile | None) -> httpx2.AsyncClient:
    """A client for an SDK, which closes it. Redirects would carry prompts and keys elsewhere: none is followed.

    Its time limits are of each step of a call; the run bounds the call as a whole.
    """
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity"},
        timeout=httpx2.Timeout(settings.attempt_timeout_seconds, connect=settings.connect_timeout_seconds),
        follow_redirects=False,
        transport=ModelTransport(settings, recording),
    )


def _note_connect(opened: list[str]) -> Callable[[str, Any], Coroutine[Any, Any, None]]:
    async def note(event: str, _: Any) -> None:
        if event.startswith("connection.connect_"):
            opened.append(event)

    return note


def _is_streamed(request: httpx2.Request, status: int) -> bool:
    return status < 300 and b'"stream":true' in request.content


def _headers(
    request: httpx2.Request, status: int, headers: httpx2.Headers, beginning: bytes
) -> list[tuple[bytes, bytes]]:
    """Those that an SDK gets, as bytes: a header may hold any, and httpx2 takes text that is ASCII only.

    Where events were requested, the content type says what came: servers err in it, and some answer whole.
    """
    dropped = {b"set-cookie", b"content-encoding", b"content-length", b"transfer-encoding"}
    kept = [(name, value) for name, value in headers.raw if name.lower() not in dropped]
    if not _is_streamed(request, status):
        return kept
    kind = b"application/json" if beginning.startswith((b"{", b"[")) else b"text/event-stream"
    return [*((name, value) for name, value in kept if name.lower() != b"content-type"), (b"content-type", kind)]


class _BoundedStream(httpx2.AsyncByteStream):
    """A reply's plain bytes within the limit, in parts that end with a line, all but the last.

    SDKs join the parts of a line anew with each: megabytes of one line in small parts would take minutes.
    Who reads OpenAI's events stops at the last one, "[DONE]", one empty chunk before the end. Closing there would
    throw the connection away, so the rest of a reply that is complete is read first.
    """

    def __init__(self, stream: Any, limit: int, record: ExchangeRecord | None, *, compressed: bool) -> None:
        self._stream = stream
        self._left = limit
        self._record = record
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB) if compressed else None
        self._parts = self._plain_parts()
        self._begun: list[bytes] = []
        self._tail = b""

    async def beginning(self) -> bytes:
        """The first part that is more than white space, without what stands before it; empty when there is none."""
        async for part in self._parts:
            self._begun.append(part)
            if text := part.lstrip():
                return text
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line: list[bytes] = []
        async for part in self._from_the_beginning():
            whole, newline, rest = part.rpartition(b"\n")
            if newline:
                yield b"".join([*line, whole, newline])
                line = [rest]
            else:
                line.append(rest)
        if last := b"".join(line):
            yield last
        if self._record is not None:
            self._record.complete()

    async def aclose(self) -> None:
        if _DONE.search(self._tail):
            with contextlib.suppress(TimeoutError, httpx2.TransportError, RuntimeError, StopAsyncIteration):
                async with asyncio.timeout(_REST_SECONDS):
                    await anext(self._parts)
            if self._record is not None:
                self._record.complete()
        await self._parts.aclose()
        await self._stream.aclose()

    async def _from_the_beginning(self) -> AsyncIterator[bytes]:
        for part in self._begun:
            yield part
        async for part in self._parts:
            yield part

    async def _plain_parts(self) -> AsyncGenerator[bytes, None]:
        async for part in self._stream:
            for plain in self._inflated(part):
                self._left -= len(plain)
                if self._left < 0:
                    raise ReplyLimitExceeded
                self._tail = (self._tail + plain)[-_TAIL_BYTES:]
                if self._record is not None:
                    self._record.parts.append(plain)
                yield plain

    def _inflated(self, part: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            yield part
            return
        while part:
            yield self._inflate.decompress(part, _DECOMPRESSED_AT_ONCE)
            part = self._inflate.unconsumed_tail
