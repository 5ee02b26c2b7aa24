"""A local HTTP server that speaks two model providers' protocols, and misbehaves on cue.

OpenAI chat completions (`POST /v1/chat/completions`) and Anthropic messages (`POST /v1/messages`), whole or streamed as
server-sent events. What it answers is scripted:

    async with ModelServer() as server:
        server.script(says("not json"), fails(429, retry_after=0), says(plan))
        ...                                    # base_url=server.openai_url or server.anthropic_url
        server.requests[0].body["messages"]

When the script is used up, `server.default` answers: a reply, or a function from the request to a reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.support.model_speech import AnthropicSpeech, ModelReply, ModelRequest, OpenAISpeech, Speech

__all__ = ["ModelReply", "ModelRequest", "ModelServer"]


def says(content: object, **changes: Any) -> ModelReply:
    """Answers with this text, or with this object as JSON."""
    return ModelReply(text=content if isinstance(content, str) else json.dumps(content), **changes)


def fails(status: int, *, retry_after: str | float | None = None, body: str = "") -> ModelReply:
    """Answers with an HTTP error; `body` should never be seen by anybody."""
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return ModelReply(status=status, headers=headers, raw_body=json.dumps({"error": {"message": body}}).encode())


def refuses(text: str = "I cannot help with that.") -> ModelReply:
    """Declines, in the way of the protocol."""
    return ModelReply(refusal=text)


def truncates(content: object, at: int) -> ModelReply:
    """Stops at the output limit, after so many characters."""
    text = content if isinstance(content, str) else json.dumps(content)
    return ModelReply(text=text[:at], finish="length")


def calls(*tool_names: str, content: object) -> ModelReply:
    """Calls tools by these names, each with this content."""
    return says(content, tool_names=tool_names)


def hangs() -> ModelReply:
    """Never answers."""
    return ModelReply(hangs=True)


def drops(after: int = 0, content: object = "") -> ModelReply:
    """Resets the connection after so many bytes of the body; after 0, before the status line."""
    return says(content, drop_after=after)


def floods(size: int) -> ModelReply:
    """Sends a reply of so many bytes."""
    return ModelReply(flood_bytes=size)


def garbage(body: bytes = b"<html>Bad gateway</html>") -> ModelReply:
    """Answers 200 with something that is not the protocol."""
    return ModelReply(raw_body=body)


class ModelServer:
    """See the module. An async context manager; listens on a free loopback port.

    :param streams: whether replies are streamed to who asks for it
    """

    def __init__(
        self, default: ModelReply | Callable[[ModelRequest], ModelReply] | None = None, *, streams: bool = True
    ) -> None:
        self.default: ModelReply | Callable[[ModelRequest], ModelReply] = default or fails(500, body="script used up")
        self.streams = streams
        self.requests: list[ModelRequest] = []
        self.in_flight = 0
        self.disconnects = 0
        self.bytes_sent = 0
        self._peers: set[object] = set()
        self.changed = asyncio.Event()
        self._script: deque[ModelReply] = deque()
        self._origin = ""
        self._runner: web.ServerRunner | None = None

    @property
    def openai_url(self) -> str:
        """Base URL for OpenAI's SDK."""
        return f"{self._origin}/v1"

    @property
    def connections(self) -> int:
        """Connections that brought at least one request."""
        return len(self._peers)

    @property
    def anthropic_url(self) -> str:
        """Base URL for Anthropic's SDK."""
        return self._origin

    def script(self, *replies: ModelReply) -> None:
        """Answer the next requests with these, in order."""
        self._script.extend(replies)

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Returns when the condition holds; checked whenever a request begins, ends, or is broken off."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def start(self, port: int = 0) -> None:
        # handler_cancellation: a client that goes away cancels the handler, which is how a disconnect is seen.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        host, bound_port = self._runner.addresses[0][:2]
        self._origin = f"http://{host}:{bound_port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> ModelServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        received = ModelRequest(request.path, {key.lower(): value for key, value in request.headers.items()}, body)
        self.requests.append(received)
        assert request.transport is not None
        self._peers.add(request.transport.get_extra_info("peername"))
        if self._script:
            reply = self._script.popleft()
        else:
            reply = self.default(received) if callable(self.default) else self.default
        self.in_flight += 1
        self.changed.set()
        try:
            return await self._answer(request, received, reply)
        except (asyncio.CancelledError, ConnectionResetError):
            self.disconnects += 1
            raise
        finally:
            self.in_flight -= 1
            self.changed.set()

    async def _answer(self, request: web.BaseRequest, received: ModelRequest, reply: ModelReply) -> web.StreamResponse:
        if reply.latency_seconds:
            await asyncio.sleep(reply.latency_seconds)
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.gate is not None and not (received.streamed and reply.gate_after):
            await reply.gate.wait()
        speech = (
            AnthropicSpeech(received, reply) if request.path.endswith("/messages") else OpenAISpeech(received, reply)
        )
        if reply.raw_body is not None:
            content_type = "application/json" if reply.raw_body[:1] in (b"{", b"[") else "text/html"
            return web.Response(
                status=reply.status, body=reply.raw_body, headers=dict(reply.headers), content_type=content_type
            )
        if reply.drop_after == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if received.streamed and self.streams:
            return await self._stream(request, reply, speech)
        if reply.flood_bytes:
            return await self._flood(request, reply)
        payload = json.dumps(speech.whole()).encode()
        if reply.drop_after is None:
            return web.Response(body=payload, headers=dict(reply.headers), content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(payload)
        await response.prepare(request)
        await response.write(payload[: reply.drop_after])
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _flood(self, request: web.BaseRequest, reply: ModelReply) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        block = b" " * 65_536
        for _ in range(reply.flood_bytes // len(block)):
            await response.write(block)
            self.bytes_sent += len(block)
        await response.write_eof(b"{}")
        return response

    async def _stream(self, request: web.BaseRequest, reply: ModelReply, speech: Speech) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        told = 0
        sent = 0
        async for event, characters in speech.events():
            if reply.gate is not None and told >= reply.gate_after:
                await reply.gate.wait()
            told += characters
            if reply.drop_after is not None and sent >= reply.drop_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            sent += len(event)
            self.bytes_sent += len(event)
            with contextlib.suppress(ConnectionError):
                await response.write(event)
        await response.write_eof()
        return response
