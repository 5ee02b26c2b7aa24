"""The HTTP under all that speaks to models: bounded replies, reused connections, recording and replay.

SDKs read a reply whole into memory before anybody can object, and follow what a server says about compression. Here
the reply's body is wrapped before it is read: what is beyond the limit is never read, and a compressed reply, whose
size says nothing, is not asked for and not accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2

from planner_service.generation.providers.recording import Recorder, ReplayTransport
from planner_service.generation.providers.transport import (
    EVENTS_TAIL,
    AiohttpTransport,
    Body,
    HttpReply,
    HttpRequest,
    Transport,
    events_are_done,
)
from planner_service.generation.settings import GenerationSettings

_REST_SECONDS = 0.05


class ReplyLimitExceeded(Exception):
    """The reply has more bytes than may be read."""


class ReplyCompressed(Exception):
    """The reply is compressed although that was not asked for."""


class _BoundedBody:
    """Raises ReplyLimitExceeded instead of giving more than the limit.

    Who reads OpenAI's events stops at the last one, "[DONE]", one empty chunk before the end. Closing there would
    throw the connection away, so the rest of a reply that is complete is read first.
    """

    def __init__(self, body: Body, limit: int) -> None:
        self._body = body
        self._parts: AsyncIterator[bytes] = aiter(body)
        self._left = limit
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._parts:
            self._left -= len(part)
            if self._left < 0:
                raise ReplyLimitExceeded
            self._tail = (self._tail + part)[-EVENTS_TAIL:]
            yield part

    async def aclose(self) -> None:
        if events_are_done(self._tail):
            with contextlib.suppress(TimeoutError, httpx2.TransportError, RuntimeError, StopAsyncIteration):
                async with asyncio.timeout(_REST_SECONDS):
                    await anext(self._parts)
        await self._body.aclose()


class BoundedTransport:
    """Replies within the limit, recorded where that is wished."""

    def __init__(self, transport: Transport, max_reply_bytes: int, recorder: Recorder | None) -> None:
        self._transport = transport
        self._max_reply_bytes = max_reply_bytes
        self._recorder = recorder

    async def send(self, request: HttpRequest) -> HttpReply:
        reply = await self._transport.send(request)
        try:
            self._bind(request, reply)
        except BaseException:
            await reply.body.aclose()
            raise
        return reply

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _bind(self, request: HttpRequest, reply: HttpReply) -> None:
        if reply.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise ReplyCompressed
        if int(reply.headers.get("content-length", 0)) > self._max_reply_bytes:
            raise ReplyLimitExceeded
        reply.body = _BoundedBody(reply.body, self._max_reply_bytes)
        if self._recorder is not None:
            reply.body = self._recorder.recorded(request, reply)


def open_transport(settings: GenerationSettings, recorder: Recorder | None) -> BoundedTransport:
    """The way to one provider. Redirects are not followed: they would carry prompts, and keys, to another host."""
    if settings.replay_file is not None:
        transport: Transport = ReplayTransport(settings.replay_file)
    else:
        transport = AiohttpTransport(
            settings.max_connections, settings.connect_timeout_seconds, settings.attempt_timeout_seconds
        )
    return BoundedTransport(transport, settings.max_reply_bytes, recorder)


class _SdkBody(httpx2.AsyncByteStream):
    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


class _SdkTransport(httpx2.AsyncBaseTransport):
    """The same way for SDKs, which speak httpx2."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        reply = await self._transport.send(HttpRequest(request.method, str(request.url), request.headers, body))
        # As bytes: a header may hold any, and httpx2 takes text that is ASCII only.
        headers = [
            (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            for name, value in reply.headers.items()
            # httpx2 would keep cookies, which nobody wants, and stumble over them at every later request.
            if name.lower() != "set-cookie"
        ]
        return httpx2.Response(reply.status, headers=headers, stream=_SdkBody(reply.body), request=request)

    async def aclose(self) -> None:
        await self._transport.aclose()


def sdk_client(transport: Transport) -> httpx2.AsyncClient:
    """A client that sends by this transport, for an SDK, which closes both."""
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity"},
        timeout=None,  # the transport's own, and the attempt's
        follow_redirects=False,
        transport=_SdkTransport(transport),
    )
