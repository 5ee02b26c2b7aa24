"""Start a workflow, approve it by a signal, run one activity, read the result: Temporal's form of our cycle.

Prints one JSON object like the load generator's. Arguments: HOST:PORT CLIENTS SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def execute(service: str) -> int:
    return len(service)


@workflow.defn
class ApprovedStep:
    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, service: str) -> int:
        await workflow.wait_condition(lambda: self._approved)
        return await workflow.execute_activity(execute, service, start_to_close_timeout=timedelta(seconds=30))

    @workflow.signal
    def approve(self) -> None:
        self._approved = True


async def measure(target: str, clients: int, seconds: float) -> None:
    client = await Client.connect(target)
    latencies: list[float] = []
    async with Worker(client, task_queue="bench", workflows=[ApprovedStep], activities=[execute]):
        end = time.perf_counter() + seconds
        begun = time.perf_counter()

        async def cycle() -> None:
            while time.perf_counter() < end:
                start = time.perf_counter()
                handle = await client.start_workflow(
                    ApprovedStep.run, "checkout", id=str(uuid.uuid4()), task_queue="bench"
                )
                await handle.signal(ApprovedStep.approve)
                await handle.result()
                latencies.append((time.perf_counter() - start) * 1000)

        await asyncio.gather(*(cycle() for _ in range(clients)))
        elapsed = time.perf_counter() - begun
    latencies.sort()
    print(
        json.dumps(
            {
                "scenario": "cycle",
                "clients": clients,
                "operations": len(latencies),
                "per_second": len(latencies) / elapsed,
                "p50_ms": latencies[len(latencies) // 2],
                "p99_ms": latencies[int(len(latencies) * 0.99)],
                "conflicts": 0,
                "errors": 0,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
