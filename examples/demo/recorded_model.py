"""A model server that gives one recorded reply: what the embedded model said to the demo's own request.

It speaks OpenAI's protocol, so that planner and Instructor do all that they do with a real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

_REPLY = Path(__file__).with_name("recorded_reply.json")
# As a model would: a piece at a time.
_PIECE_CHARACTERS = 24
_PIECE_SECONDS = 0.04


@asynccontextmanager
async def recorded_model() -> AsyncIterator[str]:
    """Serve it on loopback; yields the base URL."""
    content = json.dumps(json.loads(_REPLY.read_text(encoding="utf-8"))["reply"])

    async def answer(request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        if not body.get("stream"):
            return web.json_response(_envelope("chat.completion", {"message": _message(content)}, "stop"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for start in range(0, len(content), _PIECE_CHARACTERS):
            delta = _message(content[start : start + _PIECE_CHARACTERS])
            await _send(response, _envelope("chat.completion.chunk", {"delta": delta}, None))
            await asyncio.sleep(_PIECE_SECONDS)
        await _send(response, _envelope("chat.completion.chunk", {"delta": {}}, "stop"))
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/v1"
    finally:
        await runner.cleanup()


def _message(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _envelope(kind: str, choice: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {
        "id": "recorded",
        "object": kind,
        "created": 0,
        "model": "recorded",
        "choices": [{"index": 0, **choice, "finish_reason": finish_reason}],
    }


async def _send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
