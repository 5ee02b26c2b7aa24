"""What bench.generation measured, as tables: benchmarks-generation.md in docs/laboratory, and bench/results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from bench.model_stub import CHUNK, TEXT
from bench.report import MACHINE, TODAY, table, write_report

CHUNK_MS = 20
FIRST_JOB_MS = (TEXT.index("}}") // CHUNK + 2) * CHUNK_MS
"""When the model itself has written the first job: the role's chunk, then those up to its last brace."""


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


def write(
    rounds: Sequence[Sequence[Measured]], memory: Mapping[str, float], peak_mib: int, first_jobs: Sequence[FirstJob]
) -> str:
    """Write both files; returns the page."""
    middle = [sorted(same, key=lambda m: m.plans_per_second)[len(same) // 2] for same in zip(*rounds, strict=True)]
    rows = sorted(middle, key=lambda m: (m.latency_ms, m.in_flight))
    load = os.getloadavg()[0]
    lines = [
        "# Benchmarks: asking a model",
        "",
        f"Measured on {TODAY} by `python -m bench.generation` on {MACHINE}, with a load of {load:.1f} at the end.",
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
        *table("way | KiB per plan in flight (256):", [[name, f"{kib:.0f}"] for name, kib in memory.items()]),
        "",
        f"Peak resident memory of the measuring process: {peak_mib} MiB",
    ]
    measured = {
        "load": load,
        "rounds": [[dataclasses.asdict(m) for m in each] for each in rounds],
        "kib_per_plan_in_flight": dict(memory),
        "first_job_ms": {"model": FIRST_JOB_MS, "measured": [dataclasses.asdict(first) for first in first_jobs]},
    }
    return write_report("generation", lines, measured)


_ASKED = "way | in flight: | model ms:"


def _speed(rows: Sequence[Measured]) -> list[str]:
    bare = {(m.in_flight, m.latency_ms): m.cpu_ms["asking"] for m in rows if m.way == "bare Instructor"}

    def cells(m: Measured) -> list[str]:
        ideal = f"{m.plans_per_second * m.latency_ms / 1000 / m.in_flight:.2f}" if m.latency_ms else ""
        cpu = m.cpu_ms["asking"]
        ratio = cpu / bare[m.in_flight, m.latency_ms]
        return [*_asked(m), f"{m.plans_per_second:.0f}", ideal, f"{cpu:.2f}", f"{ratio:.2f}"]

    columns = "plans/s: | of the ideal: | CPU ms per plan: | of bare Instructor:"
    return table(f"{_ASKED} | {columns}", map(cells, rows))


def _others(rows: Sequence[Measured]) -> list[str]:
    return table(
        f"{_ASKED} | store's CPU ms per plan: | client's:",
        [[*_asked(m), f"{m.cpu_ms['store']:.2f}", f"{m.cpu_ms['client']:.2f}"] for m in rows if "store" in m.cpu_ms],
    )


def _asked(m: Measured) -> list[str]:
    return [m.way, str(m.in_flight), str(m.latency_ms)]


def _first_jobs(first_jobs: Sequence[FirstJob]) -> list[str]:
    return [
        f"The first job of a stream while the model writes {CHUNK} characters every {CHUNK_MS} ms, which takes it",
        f"{FIRST_JOB_MS} ms up to that job's end, when so many plans are asked for at the same moment:",
        "",
        *table(
            "way | in flight: | median ms: | of the model's own time:",
            [[f.way, str(f.in_flight), f"{f.median_ms:.0f}", f"{f.median_ms / FIRST_JOB_MS:.2f}"] for f in first_jobs],
        ),
    ]
