"""A model server that says any bytes: what comes and when is the test's business, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[[asyncio.StreamWriter, int], Awaitable[None]]
"""Answers one request: where to write, and the how-manieth of its connection it is."""


def reply(body: bytes, status: str = "200 OK", headers: bytes = b"content-type: application/json\r\n") -> bytes:
    """A whole HTTP reply."""
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n" % (status.encode(), headers, len(body)) + body


def completion(text: str) -> bytes:
    """A reply of OpenAI's protocol with this text."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return reply(json.dumps({"choices": [choice]}).encode())


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """An event of OpenAI's protocol."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextlib.asynccontextmanager
async def raw_model_server(answer: Answer) -> AsyncIterator[str]:
    """A server on a free loopback port; its address without a path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                assert size is not None
                await reader.readexactly(int(size[1]))
                number += 1
                await answer(writer, number)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
