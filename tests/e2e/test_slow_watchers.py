"""Hundreds of watchers that never read while the log grows by large events: what they cost the server and others."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from plangate.store.v1 import proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import from_rpc_error
from store_service.settings import StoreSettings
from tests.support.processes import ServerProcess, store_process

CONNECTIONS, STREAMS = 25, 16
WATCHERS = CONNECTIONS * STREAMS
STALL_SECONDS = StoreSettings.model_fields["watch_stall_seconds"].default
EVENTS, EVENT_BYTES = 1_500, 30_000
MEGABYTE = 1024 * 1024
BOUND_MEGABYTES = 260


def resident_megabytes(server: ServerProcess) -> float:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def channel_to(server: ServerProcess, number: int) -> grpc.aio.Channel:
    """A connection of its own whose window stays small: what is not read soon stops the server."""
    options = [("grpc.http2.bdp_probe", 0), ("plangate.test.channel", number), ("grpc.use_local_subchannel_pool", 1)]
    return open_channel(server.address, ChannelSettings(), actor="admin", options=options)


async def fill(channel: grpc.aio.Channel, events: int) -> float:
    """Create so many large proposals, ten to a call; the seconds it took."""
    stub = store_service_pb2_grpc.ProposalServiceStub(channel)
    args = Struct()
    args.update({"padding": "x" * EVENT_BYTES})
    one = rpc.CreateProposalRequest(proposal=proposal_pb2.Proposal(action_name="x", action_args=args))
    begun = time.perf_counter()
    for _ in range(events // 10):
        await stub.BatchCreateProposals(rpc.BatchCreateProposalsRequest(requests=[one] * 10))
    return time.perf_counter() - begun


async def end_of(watch: Any) -> tuple[int, grpc.StatusCode, str, int]:
    """The last revision that still came; how the watch ended, and from where it can be resumed."""
    seen = 0
    try:
        while (update := await watch.read()) is not grpc.aio.EOF:
            run = list(update.events.events) or [update.event]
            seen = max(seen, run[-1].revision, update.progress.revision)
    except grpc.aio.AioRpcError as ended:
        failure = from_rpc_error(ended)
        return seen, failure.code, failure.reason, int(failure.metadata.get("revision", "0"))
    raise AssertionError("the watch ended without an error")


@pytest.mark.asyncio
async def test_hundreds_of_watchers_that_never_read(tmp_path: Path) -> None:
    settings = {"PLANGATE_LOG_LEVEL": "error"}
    async with store_process(tmp_path, settings) as server:
        writing = channel_to(server, -1)
        alone = await fill(writing, EVENTS)
        before = resident_megabytes(server)
        channels = [channel_to(server, number) for number in range(CONNECTIONS)]
        watches = [
            store_service_pb2_grpc.EventServiceStub(channel).WatchEvents(
                # Half of them go through the whole log, half wait for what comes; some take one event a message.
                rpc.WatchEventsRequest(start_revision=number % 2, max_events=100 * (number % 4 < 2))
            )
            for channel in channels
            for number in range(STREAMS)
        ]
        for watch in watches:
            assert (await watch.read()).HasField("progress")
        most = before

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, resident_megabytes(server))
                await asyncio.sleep(0.05)

        looking = asyncio.create_task(look())
        # Buffered for each of them this would be WATCHERS times 45 MB.
        watched = await fill(writing, EVENTS)
        await asyncio.sleep(STALL_SECONDS)
        looking.cancel()
        assert most - before < BOUND_MEGABYTES
        assert watched < 3 * alone + 10.0

        async with asyncio.timeout(60):
            ends = await asyncio.gather(*(end_of(watch) for watch in watches))
        assert {(code, reason) for _, code, reason, _ in ends} == {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW")
        }
        assert all(0 < resume <= seen + 1 for seen, _, _, resume in ends)
        # And who reads again gets the rest.
        again = store_service_pb2_grpc.EventServiceStub(channels[0]).WatchEvents(
            rpc.WatchEventsRequest(start_revision=ends[0][3], max_events=100)
        )
        revision = ends[0][3] - 1
        async with asyncio.timeout(30):
            while revision < 2 * EVENTS:
                update = await again.read()
                for event in update.events.events or ([update.event] if update.HasField("event") else []):
                    revision += 1
                    assert event.revision == revision
        again.cancel()
        for channel in (writing, *channels):
            await channel.close()
