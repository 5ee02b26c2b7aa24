"""Both servers are restarted one after the other under load: no call fails, and what was acknowledged is there once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2

from plangate_client import CallPolicy, Connection, StoreUnavailable, connect, new_request_id
from tests.support.polling import until
from tests.support.processes import planner_process, store_process

DEMO = Path(__file__).parents[2] / "examples" / "demo"
CALLERS = 6
MODEL = {
    "PLANGATE_MODEL": "openai/none",
    "PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:9/v1",
    "PLANGATE_MODEL_API_KEY": "none",
}


@pytest.mark.asyncio
async def test_no_acknowledged_call_is_lost_and_none_that_may_be_repeated_fails(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    restarted = asyncio.Event()

    async def call(plangate: Connection) -> None:
        args = Struct()
        args.update({"directory": "logs"})
        job = plan_pb2.Job(action_name="measure_disk_use", action_args=args)
        while not restarted.is_set():
            request_id = new_request_id()
            while True:
                # The planner gives up on its store after some seconds: its callers may come again with the same id.
                with contextlib.suppress(StoreUnavailable):
                    plan = await plangate.planner.submit_plan("Measure", [job], request_id=request_id)
                    break
            acknowledged.append(plan.id)
            assert (await plangate.store.plans.get(plan.id)).id == plan.id

    async with (
        store_process(tmp_path) as store,
        planner_process(tmp_path, store.address, DEMO / "catalogue.yaml", MODEL) as planner,
        # Long enough for a restart on a busy machine.
        connect(
            planner=planner.address,
            store=store.address,
            actor="alice",
            call_policy=CallPolicy(timeout_seconds=60.0),
        ) as plangate,
    ):
        calling = [asyncio.create_task(call(plangate)) for _ in range(CALLERS)]
        for server in (store, planner):
            served = len(acknowledged)
            await until(lambda: len(acknowledged) >= served + 2 * CALLERS, timeout_seconds=30)  # noqa: B023
            assert await server.stop() == 0
            await server.restart()
        served = len(acknowledged)
        await until(lambda: len(acknowledged) >= served + 2 * CALLERS, timeout_seconds=30)
        restarted.set()
        await asyncio.gather(*calling)
        stored = [plan.id async for plan in plangate.store.plans.list_all(page_size=1000)]
    assert sorted(stored) == sorted(acknowledged)
