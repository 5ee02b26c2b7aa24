"""A model server that costs as little as possible: it answers any request with one fixed plan after a fixed time.

`python -m bench.model_stub LATENCY_MS [CHUNK_MS]` prints its address. OpenAI chat completions, whole or streamed, with
CHUNK_MS between the chunks of a stream. Raw asyncio and ready-made bytes, so that what is measured on the other side
is not the stub.
"""

from __future__ import annotations

import asyncio
import json
import sys

PLAN = {
    "objective": "Free space in /var/log",
    "jobs": [
        {"action_name": "measure_disk_use", "action_args": {"path": "/var/log"}},
        {"action_name": "delete_file", "action_args": {"path": "/var/log/old.log"}},
    ],
}
TEXT = json.dumps(PLAN)
CHUNK = 12
"""Characters in a chunk, about three tokens."""


def _whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    body = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _streamed(text: str) -> list[bytes]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    deltas = [{"content": text[at : at + CHUNK]} for at in range(0, len(text), CHUNK)]
    events = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append(
        {**head, "choices": [], "usage": {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}}
    )
    parts = [b"data: %s\n\n" % json.dumps(event).encode() for event in events] + [b"data: [DONE]\n\n"]
    head_lines = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return [head_lines + chunks[0], *chunks[1:], b"0\r\n\r\n"]


class _Answering(asyncio.Protocol):
    """One connection, one request at a time. By callbacks: streams and tasks would cost more."""

    def __init__(self, latency_seconds: float, chunk_seconds: float) -> None:
        self._latency_seconds = latency_seconds
        self._chunk_seconds = chunk_seconds
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            return
        self._received = b""
        streamed = b'"stream":true' in body or b'"stream": true' in body
        self._loop.call_later(self._latency_seconds, self._stream if streamed else self._answer)

    def _answer(self) -> None:
        self._transport.write(_WHOLE)

    def _stream(self) -> None:
        if not self._chunk_seconds:
            self._transport.write(b"".join(_STREAMED))
            return
        began = self._loop.time()
        for number, chunk in enumerate(_STREAMED, start=1):
            self._loop.call_at(began + number * self._chunk_seconds, self._transport.write, chunk)


_WHOLE, _STREAMED = _whole(TEXT), _streamed(TEXT)


async def serve(latency_seconds: float, chunk_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(latency_seconds, chunk_seconds), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    latency_ms, chunk_ms = (*map(float, sys.argv[1:]), 0.0)[:2]
    asyncio.run(serve(latency_ms / 1000, chunk_ms / 1000))
