"""Why a call failed is in the store's log, under its request id; what the call said is not."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import store_service_pb2, store_service_pb2_grpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.processes import store_process


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("CREATE TRIGGER stop BEFORE INSERT ON plans BEGIN SELECT RAISE(ABORT, 'stopped'); END", "stopped"),
        ("ALTER TABLE plans RENAME COLUMN prompt TO words", "has no column named prompt"),
    ],
)
async def test_a_write_that_the_database_refuses(tmp_path: Path, damage: str, cause: str) -> None:
    async with store_process(tmp_path, {"PLANGATE_LOG_LEVEL": "debug"}) as store:
        with sqlite3.connect(tmp_path / "plangate.db") as database:
            database.execute(damage)
        request = store_service_pb2.CreatePlanRequest(
            plan=plan_pb2.Plan(objective="a secret", prompt="a secret", state=plan_pb2.PLAN_STATE_PLANNED)
        )
        async with open_channel(store.address, ChannelSettings(), actor="planner") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await store_service_pb2_grpc.PlanServiceStub(channel).CreatePlan(
                    request, metadata=(("x-request-id", "look-me-up"),)
                )
        assert cause not in str(caught.value.details())
        log = store.log()
    assert "a secret" not in log
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert any(cause in str(entry) for entry in told if entry.get("request_id") == "look-me-up")
