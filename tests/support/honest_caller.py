"""Calls a server again and again from a process of its own, so that what abuse costs the abuser is not measured.

    python -m tests.support.honest_caller MODULE ADDRESS

Takes a number of seconds a line from standard input, and prints how long each call of that time took, in JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plangate.planner.v1.planner_service_pb2 import ListActionsRequest
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceStub
from plangate.store.v1.store_service_pb2 import ListProposalsRequest
from plangate.store.v1.store_service_pb2_grpc import ProposalServiceStub

from tests.support.processes import ServerProcess

CALL_SECONDS = 10.0


@contextlib.asynccontextmanager
async def honest_caller(server: ServerProcess) -> AsyncIterator[Callable[[float], Awaitable[list[float]]]]:
    """Gives a function that calls the server for so many seconds. AssertionError when a call failed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.honest_caller", server.module, server.address),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    async def call_for(seconds: float) -> list[float]:
        requests.write(f"{seconds}\n".encode())
        line = await answers.readline()
        assert line, "a call failed"
        took: list[float] = json.loads(line)
        return took

    try:
        yield call_for
    finally:
        requests.close()
        await process.wait()


def main(module: str, address: str) -> None:
    channel = grpc.insecure_channel(address)
    health = health_pb2_grpc.HealthStub(channel)
    planner, store = PlannerServiceStub(channel), ProposalServiceStub(channel)
    for line in sys.stdin:
        took = []
        end = time.monotonic() + float(line)
        while time.monotonic() < end:
            begun = time.perf_counter()
            if module == "store_service":
                store.ListProposals(ListProposalsRequest(page_size=10), timeout=CALL_SECONDS)
            else:
                planner.ListActions(ListActionsRequest(), timeout=CALL_SECONDS)
            took.append(time.perf_counter() - begun)
            time.sleep(0.01)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
