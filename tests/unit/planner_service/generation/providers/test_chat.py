"""OpenAI's chat completions without OpenAI's SDK: what goes out, what comes back, and what counts as an error."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from planner_service.generation.providers.chat import ChatCompletions, ChatEvents, ChatRefused
from planner_service.generation.providers.transport import HttpReply, HttpRequest
from planner_service.generation.providers.wire import sdk_client
from planner_service.generation.reply.reply import Reply, hear_event

REPLY = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


class _Parts:
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part

    async def aclose(self) -> None:
        self.closed = True


class _Server:
    """Answers everything with the same."""

    def __init__(self, *parts: bytes, status: int = 200) -> None:
        self.body = _Parts(list(parts))
        self.status = status
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        return HttpReply(self.status, {"retry-after": "7"}, self.body)

    async def aclose(self) -> None:
        """Nothing is open."""


def _chat(server: _Server, **settings: Any) -> ChatCompletions:
    sdk = openai.AsyncOpenAI(
        **{"base_url": "http://model.test/v1", "api_key": "k3y", **settings},
        http_client=sdk_client(server),
    )
    return ChatCompletions(sdk, server)


@pytest.mark.asyncio
async def test_what_was_prepared_is_sent_to_where_the_sdk_would_send_it() -> None:
    server = _Server(json.dumps(REPLY).encode())
    await _chat(server, organization="acme").create(model="m", messages=[], extra_body={"random_seed": 7})
    [request] = server.requests
    assert request.url == "http://model.test/v1/chat/completions"
    assert json.loads(request.body) == {"model": "m", "messages": [], "random_seed": 7}
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["authorization"] == "Bearer k3y"
    assert headers["openai-organization"] == "acme"
    assert headers["accept-encoding"] == "identity"
    assert "openai-project" not in headers


@pytest.mark.asyncio
async def test_half_a_surrogate_pair_is_sent_escaped() -> None:
    server = _Server(json.dumps(REPLY).encode())
    await _chat(server).create(model="m", messages=[{"role": "user", "content": "\ud83d"}])
    assert b'"\\ud83d"' in server.requests[0].body


@pytest.mark.asyncio
async def test_a_reply_has_its_members_as_attributes() -> None:
    server = _Server(json.dumps(REPLY).encode())
    reply = await _chat(server).create(model="m")
    assert server.body.closed
    assert reply.choices[0].message.content == "yes"
    assert reply.choices[0].message.tool_calls is None
    assert not hasattr(reply, "__anext__")


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe", b"[" * 100_000])
async def test_a_reply_that_is_not_json_is_text(body: bytes) -> None:
    assert isinstance(await _chat(_Server(body)).create(model="m"), str)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such parameter: seed", "param": "seed"}}, "no such parameter: seed"),
        ({"error": "busy"}, "busy"),
        ({"message": "busy"}, "busy"),
        (["busy"], "['busy']"),
        (None, "None"),
    ],
)
async def test_a_status_that_is_no_success_is_an_error(body: Any, message: str) -> None:
    with pytest.raises(ChatRefused) as caught:
        await _chat(_Server(json.dumps(body).encode(), status=429)).create(model="m", stream=True)
    assert caught.value.status_code == 429
    assert caught.value.message == message
    assert caught.value.response is not None
    assert caught.value.response.headers["retry-after"] == "7"
    assert "busy" not in str(caught.value)


EVENTS = (
    b': a comment\n\ndata: {"n": 1}\n\nevent: x\r\ndata:{"n":\r\ndata: 2}\r\n\r\nid: 3\n\n'
    b'data: {"n": "\xc3\xa9"}\n\ndata: [DONE]\n\ndata: {"n": 4}\n\n'
)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_events_are_the_same_however_they_are_cut(size: int) -> None:
    server = _Server(*(EVENTS[at : at + size] for at in range(0, len(EVENTS), size)))
    events = await _chat(server).create(model="m", stream=True)
    assert isinstance(events, ChatEvents)
    assert [event async for event in events] == [{"n": 1}, {"n": 2}, {"n": "é"}]
    await events.close()
    assert server.body.closed


@pytest.mark.asyncio
async def test_a_line_without_end_in_many_pieces_takes_no_more_than_its_length() -> None:
    server = _Server(b'data: {"n": "', *[b"x" * 100] * 40_000, b'"}\n\n')
    events = await _chat(server).create(model="m", stream=True)
    started = time.process_time()
    assert len((await anext(events))["n"]) == 4_000_000
    assert time.process_time() - started < 2


def test_a_reply_of_many_pieces_takes_no_more_than_its_length() -> None:
    reply = Reply()
    started = time.process_time()
    for _ in range(40_000):
        hear_event(reply, {"choices": [{"delta": {"content": "x" * 50}}]})
    reply.joined()
    assert len(reply.text) == 2_000_000
    assert time.process_time() - started < 2


@pytest.mark.asyncio
async def test_an_error_may_be_told_in_the_middle_of_a_stream() -> None:
    server = _Server(b'data: {"n": 1}\n\ndata: {"error": {"message": "out of memory"}}\n\n')
    events = await _chat(server).create(model="m", stream=True)
    assert await anext(events) == {"n": 1}
    with pytest.raises(ChatRefused) as caught:
        await anext(events)
    assert (caught.value.status_code, caught.value.message) == (None, "out of memory")


@pytest.mark.asyncio
async def test_an_event_that_is_no_json_is_an_error_and_one_that_is_not_complete_is_none() -> None:
    events = await _chat(_Server(b"data: {}\n\ndata: {\n\n")).create(model="m", stream=True)
    assert await anext(events) == {}
    with pytest.raises(ValueError, match="EOF"):
        await anext(events)
    assert [event async for event in await _chat(_Server(b'data: {"n": 1}\n')).create(model="m", stream=True)] == []
