"""Model servers that say anything at any time, over real HTTP: no plan gets another's answer, nothing stands still."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from plangate_client.client import PlannerClient
from plangate_client.errors import PlangateError, Unavailable
from tests.support.planner_house import asking, draft, open_house
from tests.support.raw_model_server import Answer, chunk, completion, event, raw_model_server, reply

LOOK = json.dumps(draft(("read_status", {"service": "web"})))
REFUND = json.dumps(draft(("refund_order", {"order": "A", "amount": 9})))


@contextlib.asynccontextmanager
async def planner_asking(directory: Path, answer: Answer, **settings: Any) -> AsyncIterator[PlannerClient]:
    """A planner's client whose model is this server."""
    settings = {"model": "openai/test", "model_mode": "json_schema", "model_attempts": 1, **settings}
    path = "" if settings["model"].startswith("anthropic") else "/v1"
    async with (
        raw_model_server(answer) as address,
        open_house(directory, model_base_url=f"{address}{path}", draft_cache_megabytes=0, **settings) as house,
    ):
        yield house.planner("alice")


async def actions_of(planner: PlannerClient) -> list[str]:
    return [job.action_name for job in (await planner.create_plan(asking("look at web"))).jobs]


@pytest.mark.asyncio
async def test_what_comes_unasked_is_nobodys_answer(tmp_path: Path) -> None:
    async def twice(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(completion(LOOK))
        await writer.drain()
        # Read apart from the answer, by a client that has given the connection back.
        await asyncio.sleep(0.1)
        writer.write(completion(REFUND))

    async with planner_asking(tmp_path, twice) as planner:
        for _ in range(4):
            assert await actions_of(planner) == ["read_status"]
            await asyncio.sleep(0.3)


@pytest.mark.asyncio
async def test_a_server_that_worked_and_died_is_not_asked_again_within_the_attempt(tmp_path: Path) -> None:
    dying = asyncio.Event()
    asked = 0
    all_there = asyncio.Barrier(4)

    async def die(writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal asked
        if dying.is_set():
            asked += 1
            await asyncio.sleep(2.5)
            writer.transport.abort()
        else:
            await all_there.wait()
            writer.write(completion(LOOK))

    async with planner_asking(tmp_path, die) as planner:
        # Four connections that are kept: a dead one among them would be given up for the next.
        await asyncio.gather(*(planner.create_plan(asking(f"look at web {number}")) for number in range(4)))
        dying.set()
        with pytest.raises(Unavailable):
            await planner.create_plan(asking("look at web"))
    assert asked == 1


@pytest.mark.asyncio
async def test_a_cookie_of_odd_bytes_spoils_no_later_call(tmp_path: Path) -> None:
    async def overloaded(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(reply(b"{}", "529 Overloaded", b"set-cookie: a=\xff\r\n"))

    async with planner_asking(tmp_path, overloaded, model="anthropic/test", model_mode="") as planner:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await planner.create_plan(asking("look at web"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        ("200 OK", "application/json", b"<html>bad gateway</html>"),
        ("200 OK", "application/json", b""),
        ("200 OK", "application/json", b'{"a":"\xff"}'),
        ("200 OK", "application/json", b"[" * 100_000),
        ("500 Broken", "application/json; charset=utf-16", b'{"error":{}}'),
    ],
)
async def test_what_an_sdk_cannot_read_is_the_providers_failure(
    tmp_path: Path, status: str, content_type: str, body: bytes
) -> None:
    async def garbled(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(reply(body, status, f"content-type: {content_type}\r\n".encode()))

    async with planner_asking(tmp_path, garbled, model="anthropic/test", model_mode="") as planner:
        with pytest.raises(Unavailable) as refused:
            await planner.create_plan(asking("look at web"))
    assert refused.value.reason == "PROVIDER_UNAVAILABLE"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        '{"jobs":[' + "{}," * 200_000 + "{}]}",
        "[" * 3_000_000,
        '{"jobs":[{"action_name":"read_status","action_args":{"service":[' + "1," * 1_000_000 + "1]}}]}",
    ],
    ids=["jobs", "brackets", "numbers"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_large_wrong_reply_holds_others_up_for_no_longer_than_it_takes_to_read(
    tmp_path: Path, text: str, streamed: bool
) -> None:
    async def say(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(completion(text))

    async with planner_asking(tmp_path, say) as planner:
        begun = time.process_time()
        with pytest.raises(PlangateError) as refused:
            await (_last(planner) if streamed else planner.create_plan(asking("look at web")))
        # It was ten seconds and more for the first, three for the others.
        assert time.process_time() - begun < 6
    assert refused.value.reason == "PLAN_INVALID"


async def _last(planner: PlannerClient) -> None:
    async for _ in planner.stream_plan(asking("look at web")):
        pass


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "ends", [(b"data: [DONE]\n", b"\n"), (b"data: [DO", b"NE]\n\n"), (b"data: [DONE]\n\n: bye\n\n",)]
)
async def test_a_streamed_exchange_is_recorded_however_its_end_is_cut(tmp_path: Path, ends: tuple[bytes, ...]) -> None:
    async def stream(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        first, *rest = ends
        writer.write(chunk(event({"content": LOOK}) + event({}, "stop") + first))
        for part in rest:
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(chunk(part))
        writer.write(b"0\r\n\r\n")

    recording = tmp_path / "recording.jsonl"
    async with planner_asking(tmp_path, stream, model_record_file=recording) as planner:
        await _last(planner)
    kinds = [json.loads(line).get("kind") for line in recording.read_text().splitlines()[1:]]
    assert kinds == ["exchange", "plan"]
