"""Raw HTTP/2 that no gRPC client sends: memory stays bounded, what is too much is refused, other callers are served."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import ContinuationFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from plangate.store.v1 import proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.pair import running_pair
from tests.support.polling import until
from tests.support.processes import ServerProcess, store_process
from tests.support.raw_http2 import raw_connection
from tests.support.served_store import running_store

GET_PLAN = "/plangate.store.v1.PlanService/GetPlan"
LIST_PLANS = "/plangate.store.v1.PlanService/ListPlans"
CANCEL = 8
MEGABYTE = 1024 * 1024
CATALOGUE = """
version: 1
actions:
  - {name: measure, description: Measure something., risk: low, policy: allow, parameters: {properties: {}}}
"""


def resident_megabytes(server: ServerProcess) -> float:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


async def list_plans(server: ServerProcess, timeout: float = 10.0) -> rpc.ListPlansResponse:
    async with open_channel(server.address, ChannelSettings(), actor="alice") as channel:
        return await store_service_pb2_grpc.PlanServiceStub(channel).ListPlans(rpc.ListPlansRequest(), timeout=timeout)


@pytest.mark.asyncio
async def test_rapid_resets_take_little_memory_and_others_are_served(tmp_path: Path) -> None:
    async with store_process(tmp_path) as store, raw_connection(store.address) as connection:
        before = resident_megabytes(store)
        await until(lambda: bool(connection.settings))
        for _ in range(300):
            for _ in range(100):
                stream, headers = connection.open_call(GET_PLAN)
                connection.send(headers, RstStreamFrame(stream, error_code=CANCEL))
            await connection.drain()
            await asyncio.sleep(0)
        await list_plans(store)
        # Without a limit of streams these 30,000 took more than 300 MB.
        assert resident_megabytes(store) - before < 150
        assert "Traceback" not in store.log()


@pytest.mark.asyncio
async def test_both_servers_limit_the_streams_of_a_connection(tmp_path: Path) -> None:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        for address in (pair.store_address, pair.planner_address):
            async with raw_connection(address) as connection:
                await until(lambda: bool(connection.settings))
                assert connection.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 2_048
                assert connection.settings[SettingsFrame.MAX_HEADER_LIST_SIZE] == 16 * 1024


@pytest.mark.asyncio
@pytest.mark.parametrize("acknowledged", [True, False], ids=["settings acknowledged", "settings not acknowledged"])
async def test_large_metadata_is_refused_before_the_request_is_read(tmp_path: Path, acknowledged: bool) -> None:
    async with store_process(tmp_path) as store, raw_connection(store.address) as connection:
        connection.answering = acknowledged
        await until(lambda: bool(connection.settings))
        if acknowledged:
            await asyncio.sleep(0.2)
        small, frames = connection.large_call(LIST_PLANS, [("x-small", "a" * 7_000)])
        connection.send(*frames, connection.message(small, b""))
        large, frames = connection.large_call(LIST_PLANS, [("x-large", "a" * 480_000)])
        connection.send(*frames)
        # An indexed header is one byte on the wire and counts as what it stands for.
        indexed, frames = connection.large_call(LIST_PLANS, [("x-indexed", "a" * 2_000)] * 20)
        connection.send(*frames)
        await until(lambda: {small, large, indexed} <= set(connection.reset) | set(connection.ended))
        assert connection.statuses(small) == ["0"]
        assert connection.statuses(large) == connection.statuses(indexed) == ["8"]


@pytest.mark.asyncio
@pytest.mark.parametrize("acknowledged", [True, False], ids=["settings acknowledged", "settings not acknowledged"])
async def test_endless_continuation_frames_are_refused_and_take_no_memory(tmp_path: Path, acknowledged: bool) -> None:
    async with store_process(tmp_path) as store, raw_connection(store.address) as connection:
        before = resident_megabytes(store)
        connection.answering = acknowledged
        await until(lambda: bool(connection.settings))
        if acknowledged:
            await asyncio.sleep(0.2)
        connection.answering = False
        stream = connection.stream()
        connection.send(HeadersFrame(stream, data=connection.call_headers(LIST_PLANS)))
        # A literal header field of 8,000 bytes, not indexed.
        field = b"\x00\x04x-zz\x7f\xc1\x3d" + b"v" * 8_000
        for _ in range(100):
            connection.send(*[ContinuationFrame(stream, data=field) for _ in range(100)])
            await connection.drain()
            await asyncio.sleep(0)
        await until(lambda: stream in connection.reset)
        await list_plans(store)
        assert resident_megabytes(store) - before < 100


@pytest.mark.asyncio
async def test_empty_continuation_frames_end_the_connection(tmp_path: Path) -> None:
    async with store_process(tmp_path) as store, raw_connection(store.address) as connection:
        stream = connection.stream()
        connection.send(HeadersFrame(stream, data=connection.call_headers(LIST_PLANS)))
        for _ in range(100):
            with contextlib.suppress(OSError):
                connection.send(*[ContinuationFrame(stream, data=b"") for _ in range(100)])
                await connection.drain()
            await asyncio.sleep(0)
        await until(connection.closed.is_set)
        await list_plans(store)


@pytest.mark.asyncio
async def test_health_lists_every_name_of_both_servers(tmp_path: Path) -> None:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        for address, service in (
            (pair.store_address, "plangate.store.v1.ProposalService"),
            (pair.planner_address, "plangate.planner.v1.PlannerService"),
        ):
            async with open_channel(address, ChannelSettings()) as channel:
                answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
                serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
                assert answer.statuses[""] == answer.statuses[service] == serving


@pytest.mark.asyncio
async def test_a_watcher_cut_off_for_not_reading_leaves_no_traceback(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_store(sqlite_url, watch_stall_seconds=0.5, metrics_listen="127.0.0.1:0") as store:
        args = Struct()
        args.update({"padding": "x" * 30_000})
        one = rpc.CreateProposalRequest(proposal=proposal_pb2.Proposal(action_name="x", action_args=args))
        for _ in range(20):
            await store.planner.proposals.BatchCreateProposals(rpc.BatchCreateProposalsRequest(requests=[one] * 10))
        options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with open_channel(store.target, ChannelSettings(), actor="alice", options=options) as reading:
            watch = store_service_pb2_grpc.EventServiceStub(reading).WatchEvents(
                rpc.WatchEventsRequest(start_revision=1)
            )
            await watch.read()
            metrics = store.server.grpc.metrics
            assert metrics is not None
            labels = {"method": "/plangate.store.v1.EventService/WatchEvents", "code": "RESOURCE_EXHAUSTED"}
            await until(lambda: metrics.registry.get_sample_value("plangate_rpc_handled_total", labels) == 1)
            watch.cancel()
        # The end of the watch reaches the server before the answer to a call that begins after it.
        await store.alice.plans.ListPlans(rpc.ListPlansRequest())
        await asyncio.sleep(0.2)
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["authorization", "x-plangate-actor", "x-plangate-roles", "x-plangate-on-behalf-of"])
async def test_identity_that_is_sent_twice_is_refused(tmp_path: Path, key: str) -> None:
    async with running_pair(tmp_path, CATALOGUE) as pair, grpc.aio.insecure_channel(pair.store_address) as channel:
        call = store_service_pb2_grpc.PlanServiceStub(channel).ListPlans
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(rpc.ListPlansRequest(), metadata=((key, "alice"), (key, "bob")))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == f"{key} must be sent once"
        # Other keys may be repeated.
        await call(rpc.ListPlansRequest(), metadata=(("x-other", "1"), ("x-other", "2")))
