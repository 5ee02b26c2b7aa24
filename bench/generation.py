"""What asking a model costs: CPU per plan and plans per second, against bare Instructor and bare HTTP, in one run.

`python -m bench.generation [SECONDS]` prints tables, and writes them to bench/results and docs. Every way sends the
same messages and the same schema to the same stub (its own process) and ends with a validated plan; CPU is the time of
this process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import instructor

from bench.model_stub import CHUNK, TEXT
from bench.processes import ROOT
from planner_service.catalogue import parse_catalogue
from planner_service.generation.draft import draft_model, read_draft
from planner_service.generation.generator import GenerationRequest, Generator
from planner_service.generation.prompts import build_messages
from planner_service.generation.providers import ModelClients
from planner_service.generation.settings import GenerationSettings
from tests.support.generation import CATALOGUE_TEXT

PROMPT = "free some space in /var/log, but look at what takes it first"
CATALOGUE = parse_catalogue(CATALOGUE_TEXT)
IN_FLIGHT = (1, 64, 256)
CHUNK_MS = 20
FIRST_JOB_MS = (TEXT.index("}}") // CHUNK + 2) * CHUNK_MS
"""When the model itself has written the first job: the role's chunk, then those up to its last brace."""


@dataclasses.dataclass(frozen=True)
class Measured:
    way: str
    in_flight: int
    latency_ms: int
    plans_per_second: float
    cpu_ms_per_plan: float


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
    model = draft_model(CATALOGUE)
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
    generator = Generator(ModelClients(settings), settings)
    request = _request()
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    schema = {"type": "json_schema", "json_schema": {"name": "PlanReply", "schema": model.model_json_schema()}}
    body = {"model": "m", "messages": messages, "response_format": schema, "temperature": 0, "max_tokens": 2048}

    async def bare_http() -> object:
        async with session.post(f"{base_url}/chat/completions", json=body) as response:
            said = json.loads(await response.read())["choices"][0]["message"]["content"]
        return read_draft(model.model_validate_json(said))

    async def bare_instructor() -> object:
        return read_draft(
            await bare.create(response_model=model, messages=messages, max_retries=2, temperature=0, max_tokens=2048)
        )

    async def whole() -> object:
        return await generator.generate(request)

    async def streamed() -> object:
        return await generator.generate(request, _Deaf())

    try:
        yield {
            "bare HTTP + pydantic": bare_http,
            "bare Instructor": bare_instructor,
            "Generator": whole,
            "Generator, streamed": streamed,
        }
    finally:
        await session.close()
        await bare.client.close()
        await generator.aclose()


async def _measure(way: Way, in_flight: int, seconds: float) -> tuple[float, float]:
    """Plans per second and CPU milliseconds per plan."""
    await asyncio.gather(*(way() for _ in range(in_flight)))
    gc.collect()
    done = 0
    ends = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await way()
            done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return done / (time.perf_counter() - started), (time.process_time() - cpu) / done * 1000


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


async def _first_jobs(in_flight: int) -> list[float]:
    """Milliseconds to the first job, for so many plans at once, from a model that writes a chunk every CHUNK_MS."""
    with model_stub(0, CHUNK_MS) as url:
        settings = GenerationSettings(model="openai/m", base_url=url, api_key="k")
        generator = Generator(ModelClients(settings), settings)

        async def one() -> float:
            observer = _Deaf()
            started = time.perf_counter()
            await generator.generate(_request(), observer)
            return (observer.first_job_at - started) * 1000

        await asyncio.gather(*(one() for _ in range(in_flight)))
        times = await asyncio.gather(*(one() for _ in range(in_flight)))
        await generator.aclose()
    return sorted(times)


async def run(seconds: float) -> tuple[list[Measured], dict[str, float]]:
    """All ways at 0 ms, and 64 in flight at 200 ms; memory per plan with 256 in flight at 200 ms."""
    results: list[Measured] = []
    memory: dict[str, float] = {}
    with model_stub(0) as url:
        async with ways(url) as all_ways:
            for in_flight in IN_FLIGHT:
                for name, way in all_ways.items():
                    results.append(Measured(name, in_flight, 0, *await _measure(way, in_flight, seconds)))
    with model_stub(200) as url:
        async with ways(url) as all_ways:
            for name, way in all_ways.items():
                results.append(Measured(name, 64, 200, *await _measure(way, 64, max(seconds, 2.0))))
                memory[name] = await _memory(way, 256)
    return results, memory


def table(results: list[Measured], memory: dict[str, float]) -> str:
    """Markdown."""
    lines = [
        "| way | in flight | model ms | plans/s | CPU ms per plan | of bare Instructor |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    bare = {(m.in_flight, m.latency_ms): m.cpu_ms_per_plan for m in results if m.way == "bare Instructor"}
    for m in results:
        share = m.cpu_ms_per_plan / bare[m.in_flight, m.latency_ms]
        numbers = f"{m.plans_per_second:.0f} | {m.cpu_ms_per_plan:.2f} | {share:.2f}"
        lines.append(f"| {m.way} | {m.in_flight} | {m.latency_ms} | {numbers} |")
    lines += ["", "| way | KiB per plan in flight (256) |", "| --- | ---: |"]
    lines += [f"| {name} | {kib:.0f} |" for name, kib in memory.items()]
    lines += [
        "",
        f"Peak resident memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB",
    ]
    return "\n".join(lines)


def main(seconds: float = 3.0) -> None:
    """Measure, print, and write bench/results/generation.json and docs/benchmarks-generation.md."""
    results, memory = asyncio.run(run(seconds))
    first = {in_flight: asyncio.run(_first_jobs(in_flight)) for in_flight in (1, 64)}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    date = time.strftime("%Y-%m-%d")
    text = "\n".join(
        [
            "# Benchmarks: asking a model",
            "",
            f"Measured on {date} by `python -m bench.generation` on {machine}, with a load of {load:.1f} at the end.",
            "Every way sends the same messages and schema to the same stub and ends with a validated plan. CPU is",
            "that of the asking process alone. Compare only within this run. At 200 ms with 64 in flight the ideal",
            "is 320 plans/s.",
            "",
            table(results, memory),
            "",
            f"First job told while the model writes {CHUNK} characters every {CHUNK_MS} ms and has written it after",
            f"{FIRST_JOB_MS} ms: "
            + ", ".join(
                f"median {statistics.median(times):.0f} ms with {in_flight} in flight"
                f" ({statistics.median(times) / FIRST_JOB_MS:.2f} of the model's own time)"
                for in_flight, times in first.items()
            )
            + ".",
            "",
        ]
    )
    print(text)
    (ROOT / "docs" / "benchmarks-generation.md").write_text(text)
    document = {
        "date": date,
        "machine": machine,
        "load": load,
        "rows": [dataclasses.asdict(m) for m in results],
        "kib_per_plan_in_flight": memory,
        "first_job_ms": {"model": FIRST_JOB_MS, **{str(k): statistics.median(v) for k, v in first.items()}},
    }
    results_directory = ROOT / "bench" / "results"
    results_directory.mkdir(exist_ok=True)
    (results_directory / "generation.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
