"""Does the store get slower as it fills? Single-client latencies with few and with many proposals in it.

    python -m bench.growth [MANY]

Fills a SQLite file through the writer (durable, with events), then starts the store on it and asks it over gRPC. Writes
bench/results/growth.json and docs/laboratory/benchmarks-growth.md. A million proposals take minutes and some GB of
disk.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import resident_mib, store
from bench.report import MACHINE, TODAY, table, write_report
from bench.store import build_load, load
from plangate_core.process.clock import SystemClock
from store_service.commands import CreateProposal
from store_service.database.database import open_database
from store_service.domain.actor import Actor
from store_service.domain.canonical import canonical_object
from store_service.domain.proposal import ProposalDraft
from store_service.engine.writer import Writer
from store_service.messages.log_rules import log_rules

FEW = 1_000
MANY = 1_000_000
SECONDS = 4.0
SCENARIOS = ("get", "list", "approve", "cycle")


@dataclass(frozen=True, slots=True)
class Growth:
    """One size of the store. Latencies are medians of one client, in milliseconds."""

    proposals: int
    p50_ms: dict[str, float]
    bytes_per_proposal: float
    filling_memory_mib: tuple[float, float]
    server_memory_mib: float


async def fill(url: str, proposals: int) -> tuple[float, float]:
    """Create so many pending proposals; resident MiB of this process after a tenth of them, and after all."""
    database = await open_database(url)
    writer = Writer(database, clock=SystemClock(), log_rules=log_rules())
    await writer.start()
    actor = Actor("alice", frozenset({"planner"}))
    numbers = iter(range(proposals))
    early = 0.0

    async def create() -> None:
        nonlocal early
        for number in numbers:
            args = canonical_object({"service": f"service-{number % 997}", "note": "x" * 200}, "action_args")
            draft = ProposalDraft(action_name="archived_action", args_json=args, description="Fill the store.")
            await writer.execute(CreateProposal(actor=actor, draft=draft, submit=True))
            if number == proposals // 10:
                early = resident_mib(os.getpid())

    await asyncio.gather(*(create() for _ in range(256)))
    late = resident_mib(os.getpid())
    await writer.stop()
    await database.close()
    return early, late


def measure(proposals: int, directory: Path) -> Growth:
    """Fill, start the store, ask it."""
    file = directory / "store.db"
    memory = asyncio.run(fill(f"sqlite:///{file}", proposals))
    size = sum(path.stat().st_size for path in directory.glob("store.db*"))
    medians: dict[str, float] = {}
    with store(file) as (target, pid):
        for scenario in SCENARIOS:
            medians[scenario] = load(scenario, target, 1, SECONDS, prepared=3000)["p50_ms"]
        resident = resident_mib(pid)
    return Growth(proposals, medians, size / proposals, memory, resident)


def write(results: Sequence[Growth]) -> None:
    """bench/results/growth.json and docs/laboratory/benchmarks-growth.md."""
    few, many = results
    pairs = [(scenario, few.p50_ms[scenario], many.p50_ms[scenario]) for scenario in SCENARIOS]
    lines = [
        "# Benchmarks: growth",
        "",
        f"Measured on {TODAY} with `python -m bench.growth` on {MACHINE}: one client over gRPC, SQLite with fsync.",
        "",
        *table(
            f"p50 ms | {few.proposals:,} proposals: | {many.proposals:,} proposals: | ratio:",
            [[scenario, f"{less:.2f}", f"{more:.2f}", f"{more / less:.2f}"] for scenario, less, more in pairs],
        ),
        "",
        "`list` is a page of 50; `cycle` is create, approve, claim and complete, one after the other.",
        "",
        f"On disk a pending proposal with its event takes {many.bytes_per_proposal:,.0f} bytes (args of 240 bytes).",
        f"The filling process held {many.filling_memory_mib[0]:.0f} MiB after a tenth of the writes and "
        f"{many.filling_memory_mib[1]:.0f} MiB after all of them;",
        f"the server held {few.server_memory_mib:.0f} MiB with few and {many.server_memory_mib:.0f} MiB with many.",
    ]
    write_report("growth", lines, {"results": [asdict(result) for result in results]})


def main(many: int = MANY) -> None:
    """Measure both sizes and write the report."""
    build_load()
    results = []
    for proposals in (FEW, many):
        with tempfile.TemporaryDirectory() as directory:
            begun = time.perf_counter()
            results.append(measure(proposals, Path(directory)))
            print(f"{results[-1]} in {time.perf_counter() - begun:.0f} s", flush=True)
    write(results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MANY)
