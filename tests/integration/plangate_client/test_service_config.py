"""The published gRPC service config: what it repeats, and that a standard client takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2
from plangate.store.v1 import identity_service_pb2, proposal_pb2, store_service_pb2, store_service_pb2_grpc

CONFIG_FILE = Path(plan_pb2.__file__).parents[2] / "service_config.json"
FILES = (planner_service_pb2, identity_service_pb2, store_service_pb2)
READS = ("Get", "List", "BatchGet", "Count", "Verify", "Evaluate", "Simulate", "WhoAmI")


class Flaky(store_service_pb2_grpc.PlanServiceServicer, store_service_pb2_grpc.ProposalServiceServicer):
    """Every first two calls find the server going away."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def _refuse_twice(self, name: str, context: Any) -> None:
        self.calls.append(name)
        if self.calls.count(name) <= 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    async def GetPlan(self, request: store_service_pb2.GetPlanRequest, context: Any) -> plan_pb2.Plan:
        await self._refuse_twice("GetPlan", context)
        return plan_pb2.Plan(id=request.id)

    async def ApproveProposal(
        self, request: store_service_pb2.ApproveProposalRequest, context: Any
    ) -> proposal_pb2.Proposal:
        await self._refuse_twice("ApproveProposal", context)
        return proposal_pb2.Proposal(id=request.id)


def test_it_repeats_every_read_and_nothing_else() -> None:
    config = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    [methods] = config["methodConfig"]
    named = {f"{name['service']}/{name['method']}" for name in methods["name"]}
    pool = descriptor_pool.Default()
    reads = set()
    for file in FILES:
        for service in pool.FindFileByName(file.DESCRIPTOR.name).services_by_name.values():
            for method in service.methods:
                if method.name.startswith(READS) and not method.server_streaming:
                    reads.add(f"{service.full_name}/{method.name}")
    assert named == reads


@pytest.mark.asyncio
async def test_a_standard_client_repeats_reads_and_no_writes() -> None:
    servicer, server = Flaky(), grpc.aio.server()
    store_service_pb2_grpc.add_PlanServiceServicer_to_server(servicer, server)
    store_service_pb2_grpc.add_ProposalServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.service_config", CONFIG_FILE.read_text(encoding="utf-8"))]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        plan = await store_service_pb2_grpc.PlanServiceStub(channel).GetPlan(
            store_service_pb2.GetPlanRequest(id="x"), timeout=20
        )
        assert (plan.id, servicer.calls) == ("x", ["GetPlan"] * 3)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await store_service_pb2_grpc.ProposalServiceStub(channel).ApproveProposal(
                store_service_pb2.ApproveProposalRequest(id="x"), timeout=20
            )
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert servicer.calls.count("ApproveProposal") == 1
    await server.stop(0)
