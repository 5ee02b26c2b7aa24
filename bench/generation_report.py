"""What bench.generation measured, as tables: benchmarks-generation.md in docs/laboratory, and bench/results."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence

from bench.model_stub import CHUNK, TEXT
from bench.processes import ROOT

CHUNK_MS = 20
FIRST_JOB_MS = (TEXT.index("}}") // CHUNK + 2) * CHUNK_MS
"""When the model itself has written the first job: the role's chunk, then those up to its last brace."""

PAGE = ROOT / "docs" / "laboratory" / "benchmarks-generation.md"
WRITTEN_BY_HAND = "## Where the time goes"
"""From here on the page is kept as it is."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """cpu_ms: per plan, by process; "asking" is the one that asks the model."""

    way: str
    in_flight: int
    latency_ms: int
    plans_per_second: float
    cpu_ms: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class FirstJob:
    """median_ms: from asking for a plan to being told of its first job."""

    way: str
    in_flight: int
    median_ms: float


def write_report(
    rounds: Sequence[Sequence[Measured]], memory: Mapping[str, float], peak_mib: int, first_jobs: Sequence[FirstJob]
) -> str:
    """Write both files; returns the page."""
    rows = [_middle(same) for same in zip(*rounds, strict=True)]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load, date = os.getloadavg()[0], time.strftime("%Y-%m-%d")
    written = PAGE.read_text() if PAGE.exists() else ""
    kept = written[written.index(WRITTEN_BY_HAND) :] if WRITTEN_BY_HAND in written else f"{WRITTEN_BY_HAND}\n"
    page = "\n".join(
        [
            "# Benchmarks: asking a model",
            "",
            f"Measured on {date} by `python -m bench.generation` on {machine}, with a load of {load:.1f} at the end.",
            f"Of {len(rounds)} rounds the one with the middle rate, line by line; compare only within this page.",
            "Every way ends with a validated plan from the same stub, a process of its own. The first four ask it from",
            "the measuring process. `CreatePlan` and `StreamPlan` are asked over gRPC of a planner, by a client that",
            "makes the request_ids, and the planner commits each plan with two proposals on SQLite with every commit",
            "synced; there the two cores are shared by stub, planner, store and client. CPU is that of the process",
            "that asks the model, user and system. The ideal at 200 ms is 5 plans/s for each in flight: 320 with 64.",
            "The first plans are asked for one after the other, spread over the model's time: those that begin",
            "together stay together for seconds.",
            "",
            *_speed(rows),
            "",
            *_others(rows),
            "",
            *_first_jobs(first_jobs),
            "",
            "| way | KiB per plan in flight (256) |",
            "| --- | ---: |",
            *(f"| {name} | {kib:.0f} |" for name, kib in memory.items()),
            "",
            f"Peak resident memory of the measuring process: {peak_mib} MiB",
            "",
            kept,
        ]
    )
    PAGE.write_text(page)
    document = {
        "date": date,
        "machine": machine,
        "load": load,
        "rounds": [[dataclasses.asdict(m) for m in each] for each in rounds],
        "kib_per_plan_in_flight": dict(memory),
        "first_job_ms": {"model": FIRST_JOB_MS, "measured": [dataclasses.asdict(first) for first in first_jobs]},
    }
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "generation.json").write_text(json.dumps(document, indent=1) + "\n")
    return page


def _middle(same: Sequence[Measured]) -> Measured:
    return sorted(same, key=lambda measured: measured.plans_per_second)[len(same) // 2]


def _speed(rows: Sequence[Measured]) -> list[str]:
    bare = {(m.in_flight, m.latency_ms): m.cpu_ms["asking"] for m in rows if m.way == "bare Instructor"}
    lines = [
        "| way | in flight | model ms | plans/s | of the ideal | CPU ms per plan | of bare Instructor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for m in sorted(rows, key=lambda m: (m.latency_ms, m.in_flight)):
        ideal = f"{m.plans_per_second * m.latency_ms / 1000 / m.in_flight:.2f}" if m.latency_ms else ""
        cpu = m.cpu_ms["asking"]
        numbers = f"{m.plans_per_second:.0f} | {ideal} | {cpu:.2f} | {cpu / bare[m.in_flight, m.latency_ms]:.2f}"
        lines.append(f"| {m.way} | {m.in_flight} | {m.latency_ms} | {numbers} |")
    return lines


def _others(rows: Sequence[Measured]) -> list[str]:
    lines = [
        "| way | in flight | model ms | store's CPU ms per plan | client's |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {m.way} | {m.in_flight} | {m.latency_ms} | {m.cpu_ms['store']:.2f} | {m.cpu_ms['client']:.2f} |"
        for m in sorted(rows, key=lambda m: (m.latency_ms, m.in_flight))
        if "store" in m.cpu_ms
    ]


def _first_jobs(first_jobs: Sequence[FirstJob]) -> list[str]:
    return [
        f"The first job of a stream while the model writes {CHUNK} characters every {CHUNK_MS} ms, which takes it",
        f"{FIRST_JOB_MS} ms up to that job's end, when so many plans are asked for at the same moment:",
        "",
        "| way | in flight | median ms | of the model's own time |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {f.way} | {f.in_flight} | {f.median_ms:.0f} | {f.median_ms / FIRST_JOB_MS:.2f} |" for f in first_jobs),
    ]
