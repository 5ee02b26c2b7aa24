"""Receivers of notifications: an HTTP server and a mail server that misbehave on cue."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiohttp import web


@dataclass
class Post:
    """One request that came."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hook:
    """`statuses` are answered one after the other, then 200. While `held` is set no request is answered."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    held: asyncio.Event | None = None

    def taken(self) -> list[Any]:
        """The bodies of the requests that were answered with 200."""
        return [post.json for post in self.posts if post.headers["X-Answered"] == "200"]


@contextlib.asynccontextmanager
async def running_hook() -> AsyncIterator[Hook]:
    """An HTTP server on a free port."""
    hook = Hook()

    async def take(request: web.Request) -> web.Response:
        post = Post(dict(request.headers), await request.read())
        if hook.held is not None:
            await hook.held.wait()
        status = hook.statuses.pop(0) if hook.statuses else 200
        post.headers["X-Answered"] = str(status)
        hook.posts.append(post)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    hook.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield hook
    finally:
        await runner.cleanup()


@dataclass
class Mailbox:
    """`refusals` are answered to RCPT one after the other, then 250."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running_mailbox() -> AsyncIterator[Mailbox]:
    """A mail server on a free port, without TLS."""
    box = Mailbox()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test ESMTP\r\n")
        recipients: list[str] = []
        while line := await reader.readline():
            command = line.decode().strip()
            verb = command.upper().split(" ", 1)[0].split(":", 1)[0]
            answer = "250 ok"
            if verb == "RCPT":
                code = box.refusals.pop(0) if box.refusals else 250
                answer = f"{code} recipient"
                recipients.append(command.partition("<")[2].partition(">")[0])
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                content = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                message = message_from_bytes(content, policy=policy.default)
                assert isinstance(message, EmailMessage)
                box.messages.append(message)
                box.recipients.append(recipients)
                recipients = []
            elif verb == "QUIT":
                answer = "221 bye"
            writer.write(f"{answer}\r\n".encode())
            await writer.drain()
            if verb == "QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
