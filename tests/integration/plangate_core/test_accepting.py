"""Taking calls, in our way and in grpc.aio's: every kind is served, many at once, and stopping ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import store_service_pb2, store_service_pb2_grpc

from plangate_core.rpc.accepting import TESTED_GRPCIO, open_server
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.polling import until

BOTH_WAYS = pytest.mark.parametrize("tested_grpcio", [TESTED_GRPCIO, ()], ids=["ours", "grpc.aio's"])


class Plain(grpc.aio.ServerInterceptor):
    """Leaves every handler as it is."""

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return await continuation(handler_call_details)

    def wrapped(self, method: str, handler: Any) -> Any:
        return handler

    def refusal(self, method: str, metadata: Any) -> None:
        return None


class Servicer(store_service_pb2_grpc.PlanServiceServicer, store_service_pb2_grpc.EventServiceServicer):
    """GetPlan waits until it is let go; WatchEvents counts to three."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0

    async def GetPlan(self, request: store_service_pb2.GetPlanRequest, context: Any) -> plan_pb2.Plan:
        self.waiting += 1
        try:
            await self.release.wait()
        finally:
            self.waiting -= 1
        return plan_pb2.Plan(id=request.id)

    async def WatchEvents(
        self, request: store_service_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[store_service_pb2.WatchEventsResponse]:
        for revision in (1, 2, 3):
            yield store_service_pb2.WatchEventsResponse(
                progress=store_service_pb2.WatchProgress(revision=request.start_revision + revision)
            )


@dataclass
class Served:
    """A running server and a channel to it."""

    servicer: Servicer
    server: grpc.aio.Server
    channel: grpc.aio.Channel

    def get_plan(self, plan_id: str) -> Any:
        request = store_service_pb2.GetPlanRequest(id=plan_id)
        return store_service_pb2_grpc.PlanServiceStub(self.channel).GetPlan(request, timeout=30)


@asynccontextmanager
async def serving(tested_grpcio: Sequence[str]) -> AsyncIterator[Served]:
    servicer = Servicer()
    server = open_server(Plain(), [("grpc.so_reuseport", 0)], tested_grpcio)
    store_service_pb2_grpc.add_PlanServiceServicer_to_server(servicer, server)
    store_service_pb2_grpc.add_EventServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", ChannelSettings()) as channel:
        yield Served(servicer, server, channel)
    await server.stop(0)


def test_the_installed_grpcio_was_tried() -> None:
    # When this fails: run the tests and benchmarks with that version, read what changed in its aio server, and add it.
    assert grpc.__version__.rpartition(".")[0] in TESTED_GRPCIO


@pytest.mark.asyncio
@BOTH_WAYS
async def test_many_calls_are_served_at_once_again_and_again(tested_grpcio: Sequence[str]) -> None:
    async with serving(tested_grpcio) as served:
        for _ in range(2):
            served.servicer.release.clear()
            calls = [served.get_plan(f"plan-{number}") for number in range(300)]
            await until(lambda: served.servicer.waiting == 300)
            served.servicer.release.set()
            assert [plan.id for plan in await asyncio.gather(*calls)] == [f"plan-{number}" for number in range(300)]


@pytest.mark.asyncio
@BOTH_WAYS
async def test_streams_and_methods_that_are_not_there(tested_grpcio: Sequence[str]) -> None:
    async with serving(tested_grpcio) as served:
        stub = store_service_pb2_grpc.EventServiceStub(served.channel)
        watch = stub.WatchEvents(store_service_pb2.WatchEventsRequest(start_revision=4))
        assert [update.progress.revision async for update in watch] == [5, 6, 7]
        for method in ("/plangate.store.v1.PlanService/Nothing", "/none.Service/GetPlan"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.channel.unary_unary(method)(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.asyncio
@BOTH_WAYS
async def test_a_call_that_is_given_up_ends_in_the_server_too(tested_grpcio: Sequence[str]) -> None:
    async with serving(tested_grpcio) as served:
        calls = [served.get_plan("x") for _ in range(20)]
        await until(lambda: served.servicer.waiting == 20)
        for call in calls[:15]:
            call.cancel()
        await until(lambda: served.servicer.waiting == 5)
        served.servicer.release.set()
        assert {plan.id for plan in await asyncio.gather(*calls[15:])} == {"x"}


@pytest.mark.asyncio
@BOTH_WAYS
async def test_stopping_lets_calls_end_within_the_grace_and_takes_no_more(tested_grpcio: Sequence[str]) -> None:
    async with serving(tested_grpcio) as served:
        early = served.get_plan("early")
        await until(lambda: served.servicer.waiting == 1)
        stopping = asyncio.ensure_future(served.server.stop(20))
        await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.get_plan("late")
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        served.servicer.release.set()
        assert (await early).id == "early"
        await asyncio.wait_for(stopping, 10)


@pytest.mark.asyncio
@BOTH_WAYS
async def test_stopping_at_once_leaves_no_task_behind(tested_grpcio: Sequence[str]) -> None:
    before = asyncio.all_tasks()
    async with serving(tested_grpcio) as served:
        calls = [served.get_plan("x") for _ in range(10)]
        await until(lambda: served.servicer.waiting == 10)
        await served.server.stop(None)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, grpc.aio.AioRpcError) for result in results)
    await until(lambda: asyncio.all_tasks() <= before)
