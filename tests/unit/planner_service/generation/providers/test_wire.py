"""The way to providers, as our own calls and the SDKs take it: bounds, headers, and connections that are let go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2
import pytest

from planner_service.generation.providers.transport import HttpReply, HttpRequest
from planner_service.generation.providers.wire import BoundedTransport, ReplyCompressed, ReplyLimitExceeded, sdk_client

REQUEST = HttpRequest("POST", "http://model.test/v1", {}, b"{}")


class _Server:
    """Answers everything with the same, and notes how much of it was read and whether it was let go."""

    def __init__(self, *parts: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.parts = parts
        self.headers = headers or {}
        self.read = 0
        self.closed = False

    async def send(self, _: HttpRequest) -> HttpReply:
        return HttpReply(200, self.headers, self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.read += 1
            yield part

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.asyncio
async def test_a_reply_within_the_limit_is_read_whole_and_its_connection_let_go() -> None:
    server = _Server(b"12", b"34", headers={"content-length": "4"})
    reply = await BoundedTransport(server, 4, None).send(REQUEST)
    assert await reply.read() == b"1234"
    assert server.closed


@pytest.mark.asyncio
async def test_a_reply_that_says_no_length_is_read_up_to_the_limit_only() -> None:
    server = _Server(*[b"12"] * 1_000)
    reply = await BoundedTransport(server, 4, None).send(REQUEST)
    with pytest.raises(ReplyLimitExceeded):
        await reply.read()
    assert (server.read, server.closed) == (3, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "refusal"),
    [({"content-length": "5"}, ReplyLimitExceeded), ({"content-encoding": "gzip"}, ReplyCompressed)],
)
async def test_a_reply_whose_headers_are_refused_is_not_read(
    headers: Mapping[str, str], refusal: type[Exception]
) -> None:
    server = _Server(b"12345", headers=headers)
    with pytest.raises(refusal):
        await BoundedTransport(server, 4, None).send(REQUEST)
    assert (server.read, server.closed) == (0, True)


@pytest.mark.asyncio
async def test_an_sdk_gets_the_same_reply_whatever_bytes_its_headers_hold() -> None:
    server = _Server(b"1", b"2", headers={"x-caf\udce9": "b\udcfccher", "content-type": "text/plain"})
    async with sdk_client(server) as http:
        reply = await http.post("http://model.test/v1", content=b"{}")
    assert reply.content == b"12"
    assert (b"x-caf\xe9", b"b\xfccher") in reply.headers.raw
    assert isinstance(reply, httpx2.Response)
    assert server.closed
