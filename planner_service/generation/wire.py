"""The HTTP under all that speaks to models: bounded replies, reused connections, recording and replay.

SDKs read a reply whole into memory before anybody can object, and follow what a server says about compression. Here
the reply's stream is wrapped before it is read: what is beyond the limit is never read, and a compressed reply, whose
size says nothing, is not asked for and not accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2

from planner_service.generation.recording import Recorder, ReplayTransport
from planner_service.generation.settings import GenerationSettings
from planner_service.generation.transport import AiohttpTransport

_TAIL = 16
_REST_SECONDS = 0.05


class ReplyLimitExceeded(Exception):
    """The reply has more bytes than may be read."""


class ReplyCompressed(Exception):
    """The reply is compressed although that was not asked for."""


class _BoundedStream(httpx2.AsyncByteStream):
    """Raises ReplyLimitExceeded instead of giving more than the limit.

    Who reads OpenAI's events stops at the last one, "[DONE]", one empty chunk before the end. Closing there would
    throw the connection away, so the rest of a reply that is complete is read first.
    """

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._parts: AsyncIterator[bytes] = aiter(stream)
        self._left = limit
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._parts:
            self._left -= len(part)
            if self._left < 0:
                raise ReplyLimitExceeded
            self._tail = (self._tail + part)[-_TAIL:]
            yield part

    async def aclose(self) -> None:
        if self._tail.rstrip().endswith(b"[DONE]"):
            with contextlib.suppress(TimeoutError, httpx2.TransportError, RuntimeError, StopAsyncIteration):
                async with asyncio.timeout(_REST_SECONDS):
                    await anext(self._parts)
        await self._stream.aclose()


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Replies within the limit, recorded where that is wished."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, max_reply_bytes: int, recorder: Recorder | None) -> None:
        self._transport = transport
        self._max_reply_bytes = max_reply_bytes
        self._recorder = recorder

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        response.request = request
        try:
            await self._bind(response)
        except BaseException:
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _bind(self, response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ReplyCompressed
        if int(response.headers.get("content-length", 0)) > self._max_reply_bytes:
            raise ReplyLimitExceeded
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(stream, self._max_reply_bytes)
        if self._recorder is not None:
            response.stream = await self._recorder.recorded(response, response.stream)


def open_transport(settings: GenerationSettings, recorder: Recorder | None) -> BoundedTransport:
    """The way to one provider. Redirects are not followed: they would carry prompts, and keys, to another host."""
    if settings.replay_file is not None:
        transport: httpx2.AsyncBaseTransport = ReplayTransport(settings.replay_file)
    else:
        transport = AiohttpTransport(
            settings.max_connections, settings.connect_timeout_seconds, settings.attempt_timeout_seconds
        )
    return BoundedTransport(transport, settings.max_reply_bytes, recorder)


def open_http_client(settings: GenerationSettings, recorder: Recorder | None) -> httpx2.AsyncClient:
    """The same as a client for an SDK, which closes it."""
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity"},
        timeout=None,  # the transport's own, and the attempt's
        follow_redirects=False,
        transport=open_transport(settings, recorder),
    )
