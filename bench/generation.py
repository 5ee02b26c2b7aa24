"""What asking a model costs: CPU per plan and plans per second, against bare Instructor and bare HTTP, in one run.

`python -m bench.generation [SECONDS]` prints tables, and writes them to bench/results and docs. Every way ends with a
validated plan from the same stub, which is a process of its own: bare HTTP, bare Instructor and the
InstructorClient ask it from this process, CreatePlan and StreamPlan through a planner and its store
(bench/planner_rpc.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

import aiohttp
import instructor

from bench.generation_report import CHUNK_MS, FirstJob, Measured, write
from bench.planner_rpc import house
from bench.processes import cpu_seconds
from plangate_core.catalogue.catalogue import parse_catalogue
from planner_service.generation.instructor_client import GenerationRequest, InstructorClient
from planner_service.generation.prompt.prompts import build_messages
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.reply.draft import read_draft, reply_form
from planner_service.generation.settings import GenerationSettings
from tests.support.generation import CATALOGUE_TEXT

PROMPT = "free some space in /var/log, but look at what takes it first"
CATALOGUE = parse_catalogue(CATALOGUE_TEXT)
IN_FLIGHT = (1, 64, 256)
LATENCIES_MS = (0, 200)
ROUNDS = 3


class _Deaf:
    """An observer that streaming needs; notes when the first job was told."""

    first_job_at = 0.0

    def attempt_started(self, number: int, model: str) -> None: ...
    def attempt_finished(self, attempt: Any) -> None: ...
    def job(self, job: Any, index: int) -> None:
        self.first_job_at = self.first_job_at or time.perf_counter()

    def jobs_retracted(self, indexes: Any, reason: str) -> None: ...


@contextlib.contextmanager
def model_stub(latency_ms: int, chunk_ms: int = 0) -> Iterator[str]:
    """A stub process; its base URL."""
    command = [sys.executable, "-m", "bench.model_stub", str(latency_ms), str(chunk_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _request() -> GenerationRequest:
    return GenerationRequest(
        prompt=PROMPT, context={}, catalogue=CATALOGUE, model="openai/m", max_attempts=3, check=lambda _: []
    )


Way = Callable[[], Awaitable[object]]


@contextlib.asynccontextmanager
async def ways(base_url: str) -> Any:
    """Every way to get a plan, by name."""
    model = reply_form(CATALOGUE, CATALOGUE).model
    messages: Any = build_messages(PROMPT, {}, CATALOGUE)
    bare: Any = instructor.from_provider(
        "openai/m",
        async_client=True,
        base_url=base_url,
        api_key="k",
        max_retries=0,
        mode=instructor.Mode.JSON_SCHEMA,
        timeout=120.0,  # its default of 5 s to connect is not enough for 256 at once on a busy machine
    )
    settings = GenerationSettings(model="openai/m", base_url=base_url, api_key="k")
    instructor_client = InstructorClient(ModelClients(settings), settings)
    request = _request()
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    schema = {"type": "json_schema", "json_schema": {"name": "PlanReply", "schema": model.model_json_schema()}}
    body = {"model": "m", "messages": messages, "response_format": schema, "temperature": 0, "max_tokens": 2048}

    async def bare_http() -> object:
        async with session.post(f"{base_url}/chat/completions", json=body) as response:
            reply = json.loads(await response.read())["choices"][0]["message"]["content"]
        return read_draft(model.model_validate_json(reply))

    async def bare_instructor() -> object:
        return read_draft(
            await bare.create(response_model=model, messages=messages, max_retries=2, temperature=0, max_tokens=2048)
        )

    async def whole() -> object:
        return await instructor_client.generate_plan(request)

    async def streamed() -> object:
        return await instructor_client.generate_plan(request, _Deaf())

    try:
        yield {
            "bare HTTP + pydantic": bare_http,
            "bare Instructor": bare_instructor,
            "InstructorClient": whole,
            "InstructorClient, streamed": streamed,
        }
    finally:
        await session.close()
        await bare.client.close()
        await instructor_client.aclose()


async def _measure(
    name: str, way: Way, processes: Mapping[str, Callable[[], float]], in_flight: int, latency_ms: int, seconds: float
) -> Measured:
    """What was done within so many seconds in the middle of a longer run, always so many plans in flight.

    :param processes: seconds of CPU of each process that it takes, by the process's name.

    They begin one after the other within the model's time: those that begin together stay together for seconds.
    """
    ends: list[list[float]] = [[] for _ in range(in_flight)]
    stopped = False

    async def worker(own: list[float], begin_after_seconds: float) -> None:
        await asyncio.sleep(begin_after_seconds)
        while not stopped:
            await way()
            own.append(time.perf_counter())

    apart_seconds = latency_ms / 1000 / in_flight
    workers = [asyncio.create_task(worker(own, number * apart_seconds)) for number, own in enumerate(ends)]
    # The first round opens connections.
    while min(map(len, ends)) < 1 + (latency_ms > 0):  # noqa: ASYNC110 - an event would cost something per plan
        await asyncio.sleep(0.05)
    # As the servers do once they have started: else the collector looks at all modules again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    started = time.perf_counter()
    cpu_before = {process: used() for process, used in processes.items()}
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    cpu = {process: used() - cpu_before[process] for process, used in processes.items()}
    within = [[end for end in own if started <= end <= started + elapsed] for own in ends]
    stopped = True
    await asyncio.gather(*workers)
    plans = sum(map(len, within))
    per_second = plans / elapsed
    if min(map(len, within)) > 2:
        # Plans that come in waves: whether one more wave falls into the time says nothing.
        per_second = sum((len(own) - 1) / (own[-1] - own[0]) for own in within)
    cpu_ms = {process: used / plans * 1000 for process, used in cpu.items()}
    return Measured(name, in_flight, latency_ms, per_second, cpu_ms)


async def _memory(way: Way, in_flight: int) -> float:
    """Python memory per plan in flight, KiB, at its highest."""
    await asyncio.gather(*(way() for _ in range(in_flight)))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await asyncio.gather(*(way() for _ in range(in_flight)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - before) / in_flight / 1024


async def _first_jobs(in_flight: int) -> list[FirstJob]:
    """Milliseconds to the first job, for so many plans at once, from a model that writes a chunk every CHUNK_MS."""
    with model_stub(0, CHUNK_MS) as url:
        settings = GenerationSettings(model="openai/m", base_url=url, api_key="k")
        instructor_client = InstructorClient(ModelClients(settings), settings)

        async def one() -> float:
            observer = _Deaf()
            started = time.perf_counter()
            await instructor_client.generate_plan(_request(), observer)
            return observer.first_job_at - started

        async def median_ms(way: Callable[[], Awaitable[float]]) -> float:
            await asyncio.gather(*(way() for _ in range(in_flight)))
            times = [seconds for _ in range(3) for seconds in await asyncio.gather(*(way() for _ in range(in_flight)))]
            return statistics.median(times) * 1000

        alone = FirstJob("InstructorClient, streamed", in_flight, await median_ms(one))
        await instructor_client.aclose()
        async with house(url, CATALOGUE_TEXT, PROMPT) as running:
            return [alone, FirstJob("StreamPlan", in_flight, await median_ms(running.stream))]


async def _round(seconds: float, memory: dict[str, float]) -> list[Measured]:
    """All ways at all latencies; notes the memory per plan with 256 in flight at the longest."""
    results: list[Measured] = []
    for latency_ms in LATENCIES_MS:
        window = seconds * (3 if latency_ms else 1)  # with fewer plans in it
        with model_stub(latency_ms) as url:
            async with ways(url) as all_ways:
                for in_flight in IN_FLIGHT:
                    for name, way in all_ways.items():
                        asking = {"asking": time.process_time}
                        results.append(await _measure(name, way, asking, in_flight, latency_ms, window))
                if latency_ms == max(LATENCIES_MS):
                    for name, way in all_ways.items():
                        memory[name] = await _memory(way, 256)
            async with house(url, CATALOGUE_TEXT, PROMPT) as running:
                cpu: dict[str, Callable[[], float]] = {
                    "asking": partial(cpu_seconds, running.planner_pid),
                    "store": partial(cpu_seconds, running.store_pid),
                    "client": time.process_time,
                }
                for in_flight in IN_FLIGHT:
                    for name, rpc in (("CreatePlan", running.create), ("StreamPlan", running.stream)):
                        results.append(await _measure(name, rpc, cpu, in_flight, latency_ms, window))
    return results


async def _run(seconds: float) -> None:
    memory: dict[str, float] = {}
    rounds = [await _round(seconds, memory) for _ in range(ROUNDS)]
    first_jobs = [first for in_flight in (1, 64) for first in await _first_jobs(in_flight)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(write(rounds, memory, peak_mib, first_jobs))


def main(seconds: float = 1.2) -> None:
    """Measure, print, and write bench/results/generation.json and docs/laboratory/benchmarks-generation.md."""
    asyncio.run(_run(seconds))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.2)
