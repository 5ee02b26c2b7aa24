"""A planner and its store as processes of their own, and plans asked of it over gRPC.

The store is on a fresh SQLite file with every commit synced, the planner has the defaults of an installation and asks
the stub. Every request has a prompt and a request_id of its own, as clients send them, so nothing is shared or cached.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from bench.processes import server, store
from plangate_client.client import PlannerClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings

POLICY = """
version: 1
rules:
  - name: looking-is-free
    match: {risk: low}
    effect: allow
  - name: deleting-is-reviewed
    match: {risk: high}
    effect: require_approval
"""


@dataclass(frozen=True, slots=True)
class House:
    """A running pair and what is asked of it. `create` gives a plan; `stream` the seconds until its first job."""

    planner_pid: int
    store_pid: int
    create: Callable[[], Awaitable[object]]
    stream: Callable[[], Awaitable[float]]


@contextlib.asynccontextmanager
async def house(model_url: str, catalogue: str, prompt: str) -> AsyncIterator[House]:
    """Both servers, and a client in this process, until the context ends."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as servers:
        directory = Path(name)
        (directory / "catalogue.yaml").write_text(catalogue)
        (directory / "policy.yaml").write_text(POLICY)
        store_address, store_pid = servers.enter_context(store(directory / "store.db"))
        planner_address, planner_pid = servers.enter_context(
            server(
                [sys.executable, "-m", "planner_service"],
                {
                    "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0",
                    "PLANGATE_STORE_TARGET": store_address,
                    "PLANGATE_CATALOGUE_FILE": str(directory / "catalogue.yaml"),
                    "PLANGATE_POLICY_FILE": str(directory / "policy.yaml"),
                    "PLANGATE_MODEL": "openai/m",
                    "PLANGATE_MODEL_BASE_URL": model_url,
                    "PLANGATE_LOG_LEVEL": "warning",
                },
            )
        )
        numbers = itertools.count()
        async with PlannerClient(open_channel(planner_address, ChannelSettings(), actor="bench")) as planner:

            def asked() -> planner_pb2.CreatePlanRequest:
                return planner_pb2.CreatePlanRequest(prompt=f"{prompt} ({next(numbers)})")

            async def create() -> object:
                return await planner.create_plan(asked())

            async def stream() -> float:
                started, first_job_at = time.perf_counter(), 0.0
                async for update in planner.stream_plan(asked()):
                    if update.WhichOneof("update") == "job":
                        first_job_at = first_job_at or time.perf_counter()
                return first_job_at - started

            yield House(planner_pid, store_pid, create, stream)
