"""Both servers under abuse: no crash, no hang, no INTERNAL, other callers are served, memory comes back.

A short run in the suite; `make robustness` goes on for ROBUSTNESS_SECONDS (an hour).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.honest_caller import honest_caller
from tests.support.processes import ServerProcess, planner_process, store_process
from tests.support.wire_abuse import RAW, Answers, keep_on, methods_of, random_calls

DEMO = Path(__file__).parents[2] / "examples" / "demo"
SECONDS = float(os.environ.get("ROBUSTNESS_SECONDS", "0"))
# Two tests of two servers each share the time.
RAW_SECONDS = SECONDS / 4 / len(RAW) or 0.5
RANDOM_ROUNDS_SECONDS = SECONDS / 4 or 4.0
MEGABYTES_KEPT = 400
# The printed factor is what is looked at; two busy cores allow no tighter bound than this.
P99_SECONDS = 5.0
MODEL = {
    "PLANGATE_MODEL": "openai/none",
    "PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:9/v1",
    "PLANGATE_MODEL_API_KEY": "none",
    "PLANGATE_POLICY_FILE": str(DEMO / "policy.yaml"),
}


@pytest_asyncio.fixture
async def servers(tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    quiet = {"PLANGATE_LOG_LEVEL": "warning"}
    async with (
        store_process(tmp_path, quiet) as store,
        planner_process(tmp_path, store.address, DEMO / "catalogue.yaml", {**MODEL, **quiet}) as planner,
    ):
        yield store, planner


def resident_megabytes(server: ServerProcess) -> float:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


@pytest.mark.asyncio
@pytest.mark.timeout(240 + 2 * SECONDS)
async def test_raw_http2_abuse(servers: tuple[ServerProcess, ServerProcess]) -> None:
    for server in servers:
        before = resident_megabytes(server)
        async with honest_caller(server) as call_for:
            await call_for(0.1)
            quiet = p99(await call_for(max(RAW_SECONDS, 2.0)))
            for name, abuse in RAW.items():
                abusing = [asyncio.create_task(keep_on(abuse, server.address, random.Random(n))) for n in range(2)]
                try:
                    took = await call_for(RAW_SECONDS)
                finally:
                    for task in abusing:
                        task.cancel()
                    ended = await asyncio.gather(*abusing, return_exceptions=True)
                assert all(isinstance(end, asyncio.CancelledError) for end in ended), (name, ended)
                print(
                    f"{server.module} {name}: {len(took)} calls, median {statistics.median(took) * 1000:.0f} ms, "
                    f"p99 {p99(took) * 1000:.0f} ms ({p99(took) / quiet:.1f} times that of before), "
                    f"most {max(took) * 1000:.0f} ms, {resident_megabytes(server):.0f} MB"
                )
                assert p99(took) < P99_SECONDS, name
        assert server.returncode is None
        assert resident_megabytes(server) - before < MEGABYTES_KEPT
        assert "Traceback" not in server.log()


@pytest.mark.asyncio
@pytest.mark.timeout(240 + 2 * SECONDS)
async def test_random_and_mutated_messages_to_every_method(servers: tuple[ServerProcess, ServerProcess]) -> None:
    chance, seed = random.Random(), int(os.environ.get("ROBUSTNESS_SEED", "1"))
    chance.seed(seed)
    for server in servers:
        answers = Answers()
        async with contextlib.AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(open_channel(server.address, ChannelSettings(), actor=actor))
                for actor in ("alice", "planner", "admin")
            ]
            methods = await methods_of(channels[0])
            end = time.monotonic() + RANDOM_ROUNDS_SECONDS
            while True:
                for channel in channels:
                    await asyncio.gather(*(random_calls(channel, method, chance, answers) for method in methods))
                if time.monotonic() > end:
                    break
            assert len(answers.methods) == len(methods)
        assert server.returncode is None
        async with honest_caller(server) as call_for:
            await call_for(0.1)
        assert answers.faults == [], server.log()[-4000:]
        assert "Traceback" not in server.log(), server.log()[-4000:]
