"""`plangate log` where the store is away, or too busy, for a moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from plangate.store.v1 import event_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.pair import clean_environment

VERIFY_LOG = Path(__file__).parents[4] / "docs" / "verify_log.py"


class BusyStore(store_service_pb2_grpc.EventServiceServicer):
    """Ends the first watches with these codes, and the first list after a page when it is told to."""

    def __init__(self, *refusals: grpc.StatusCode, breaks: bool = False) -> None:
        self.refusals = [*refusals]
        self.breaks = breaks

    async def ListEvents(self, request: Any, context: Any) -> rpc.ListEventsResponse:
        if self.breaks and request.page_token:
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
        event = event_pb2.Event(revision=1, kind="plan.created")
        return rpc.ListEventsResponse(events=[event], next_page_token="more" if self.breaks else "")

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[rpc.WatchEventsResponse]:
        if self.refusals:
            await context.abort(self.refusals.pop(0), "not now")
        yield rpc.WatchEventsResponse(event=event_pb2.Event(revision=request.start_revision, kind="plan.planned"))
        await asyncio.sleep(60)


async def log(address: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plangate_client", "log", *arguments),
        env={**clean_environment(), "PLANGATE_STORE_TARGET": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )


async def served(store: BusyStore) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server()
    store_service_pb2_grpc.add_EventServiceServicer_to_server(store, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@pytest.mark.asyncio
async def test_following_outlasts_a_busy_store() -> None:
    codes = grpc.StatusCode
    server, address = await served(BusyStore(codes.RESOURCE_EXHAUSTED, codes.DEADLINE_EXCEEDED, codes.UNAVAILABLE))
    process = await log(address, "--follow", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        events = [json.loads(await process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    await server.stop(None)
    assert [(event["revision"], event["kind"]) for event in events] == [("1", "plan.created"), ("2", "plan.planned")]
    assert said.decode().count("the store is busy; trying again in ") == 2
    assert said.decode().count("the store cannot be reached; trying again in ") == 1
    assert process.returncode == 130


@pytest.mark.asyncio
async def test_an_export_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("earlier\n")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    server, address = await served(BusyStore(breaks=True))
    for store, target, status in (
        ("127.0.0.1:1", "real.jsonl", 6),
        (address, "real.jsonl", 1),
        (address, "link.jsonl", 1),
        (address, "new.jsonl", 1),
    ):
        process = await log(store, "--export", str(tmp_path / target), "--force")
        async with asyncio.timeout(30):
            _, said = await process.communicate()
        assert process.returncode == status, said
    await server.stop(None)
    assert (tmp_path / "real.jsonl").read_text() == "earlier\n"
    assert sorted(os.listdir(tmp_path)) == ["link.jsonl", "real.jsonl"]


@pytest.mark.asyncio
async def test_an_export_replaces_the_earlier_one(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.jsonl", tmp_path / "link.jsonl", tmp_path / "pipe"
    real.write_text("earlier\n")
    real.chmod(0o640)
    link.symlink_to("real.jsonl")
    os.mkfifo(pipe)
    server, address = await served(BusyStore())
    for target in (link, tmp_path / "new.jsonl", pipe):
        process = await log(address, "--export", str(target), *(["--force"] if target == link else []))
        async with asyncio.timeout(30):
            if target == pipe:
                text = await asyncio.to_thread(pipe.read_text)
                assert json.loads(text)["revision"] == 1
            await process.communicate()
        assert process.returncode == 0
    await server.stop(None)
    assert json.loads(real.read_text())["revision"] == 1
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link.jsonl", "new.jsonl", "pipe", "real.jsonl"]


def test_json_nested_too_deep_is_no_log(tmp_path: Path) -> None:
    deep = tmp_path / "deep.jsonl"
    deep.write_text("[" * 100_000 + "\n")
    done = subprocess.run([sys.executable, "-I", VERIFY_LOG, deep], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("not readable as a log: RecursionError")
