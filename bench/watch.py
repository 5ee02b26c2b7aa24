"""Many who follow the store at once: 200 watchers of the log while proposals are created, and 1,000 idle claimers.

    python -m bench.watch [SECONDS]

The watchers are one compiled process (bench/load/watch.cc); the claimers do nothing but wait, in this one. Writes
bench/results/watch.json, docs/laboratory/benchmarks-watch.md and docs/laboratory/benchmarks-watch.svg.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from google.protobuf import duration_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1 import store_service_pb2_grpc

from bench.processes import ROOT, cpu_seconds, server, store
from bench.report import MACHINE, TODAY, Row, table, write_picture, write_report
from bench.store import build_load
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings

WATCH = ROOT / "build" / "load" / "watch"
WATCHERS = 200
CREATORS = 16
CLAIMERS = 1000
CEILING = "bare grpc.aio fan-out"
OURS = "plangate"
RUNS = "plangate, up to 100 events a message"
TITLE = "Benchmarks: watching the log"


@dataclass(frozen=True, slots=True)
class Watched:
    """One run. `creates_per_second` 0: as many as CREATORS clients get done."""

    system: str
    scenario: str
    creates_per_second: float
    deliveries_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_delivery: float
    missing: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Claimers that wait for work that does not come."""

    claimers: int
    action_sets: int
    cpu_share: float
    """Of one core."""


def build_watch() -> None:
    """Compile the watchers. Raises SystemExit with what to install when the tools are missing."""
    build_load()
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "load"), "../../build/load/watch"], check=True)


def watched(system: str, target: str, pid: int, seconds: float, rate: float, max_events: int = 0) -> Watched:
    """One run of the compiled watchers against a server that was just started."""
    before = cpu_seconds(pid)
    argv = [str(WATCH), target, str(WATCHERS), str(seconds), str(rate), "256", str(max_events)]
    argv.append("1" if rate else str(CREATORS))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if not done.stdout:
        raise RuntimeError(f"{system}: {done.stderr}")
    answer = json.loads(done.stdout)
    result = Watched(
        system,
        f"{rate:g} creates/s" if rate else f"{CREATORS} creators",
        answer["creates_per_second"],
        answer["deliveries_per_second"],
        answer["p50_ms"],
        answer["p99_ms"],
        (cpu_seconds(pid) - before) / answer["delivered"] * 1e6,
        answer["missing"] + answer["gaps"],
    )
    print(result, flush=True)
    return result


async def idle(target: str, pid: int, seconds: float, action_sets: int) -> Idle:
    """The server's CPU while CLAIMERS wait."""
    channels = [open_channel(target, ChannelSettings(), actor="worker") for _ in range(4)]
    stubs = [store_service_pb2_grpc.ProposalServiceStub(channel) for channel in channels]
    waits = [
        asyncio.ensure_future(
            stubs[number % len(stubs)].ClaimProposals(
                rpc.ClaimProposalsRequest(
                    action_names=[f"action-{number % action_sets}"], wait_duration=duration_pb2.Duration(seconds=60)
                )
            )
        )
        for number in range(CLAIMERS)
    ]
    await asyncio.sleep(4)
    before, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (cpu_seconds(pid) - before) / (time.perf_counter() - begun)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    for channel in channels:
        await channel.close()
    result = Idle(CLAIMERS, action_sets, share)
    print(result, flush=True)
    return result


def measure(seconds: float) -> tuple[list[Watched], list[Idle]]:
    """All runs, each against a server of its own."""
    runs: list[Watched] = []
    for rate in (10.0, 40.0, 0.0):
        with server([sys.executable, "-m", "bench.fanout_server"]) as (target, pid):
            runs.append(watched(CEILING, target, pid, seconds, rate))
        for system, max_events in ((OURS, 0), (RUNS, 100)):
            with tempfile.TemporaryDirectory() as directory, store(Path(directory) / "store.db") as (target, pid):
                runs.append(watched(system, target, pid, seconds, rate, max_events))
    with tempfile.TemporaryDirectory() as directory, store(Path(directory) / "store.db") as (target, pid):
        waits = [asyncio.run(idle(target, pid, seconds, action_sets)) for action_sets in (1, CLAIMERS)]
    return runs, waits


def write(runs: Sequence[Watched], waits: Sequence[Idle]) -> None:
    """The three files."""
    ceilings = {run.scenario: run.deliveries_per_second for run in runs if run.system == CEILING}

    def cells(run: Watched) -> list[str]:
        rates = [f"{run.creates_per_second:,.0f}", f"{run.deliveries_per_second:,.0f}"]
        latencies = [f"{run.p50_ms:.1f}", f"{run.p99_ms:.1f}", f"{run.cpu_us_per_delivery:.0f}"]
        ratio = f"{run.deliveries_per_second / ceilings[run.scenario]:.2f}"
        return [run.scenario, run.system, *rates, *latencies, ratio]

    lines = [
        f"# {TITLE}",
        "",
        f"Measured on {TODAY} in one run of `make bench` on {MACHINE}.",
        f"{WATCHERS} watchers on 20 connections, all in one compiled process, get every event in full while proposals",
        "with 256 bytes of arguments are created durably. A latency begins with the event's own time, which the store",
        "takes when it begins the transaction, so the commit is part of it, and ends when the watcher has the message.",
        "Numbers of different runs or machines do not compare.",
        "",
        f"![{TITLE}](benchmarks-watch.svg)",
        "",
        *table(
            "load | system | creates/s: | deliveries/s: | p50 ms: | p99 ms: | us server CPU each: | of ceiling:",
            map(cells, runs),
        ),
        "",
        f"The {CEILING} keeps messages in a list and sends each to everyone: no database, no hashing, no identities.",
        "At a steady rate everybody delivers what is created; the latency is then mostly that of writing 200 messages",
        "one after the other, half of which the median watcher waits for.",
        "",
        "Claimers that wait for work that does not come (`wait_duration`), all at once:",
        "",
        *table(
            "claimers: | different sets of actions: | server CPU, of one core:",
            [[f"{wait.claimers:,}", f"{wait.action_sets:,}", f"{wait.cpu_share:.1%}"] for wait in waits],
        ),
    ]
    measured = {"watched": [asdict(run) for run in runs], "idle": [asdict(wait) for wait in waits]}
    write_report("watch", lines, measured)
    bars = [
        Row(f"deliveries, {run.scenario}", run.system, WATCHERS, run.deliveries_per_second, run.p50_ms, run.p99_ms)
        for run in runs
    ]
    write_picture("watch", bars, OURS)


def main(seconds: float = 5.0) -> None:
    """Measure and write the report."""
    build_watch()
    write(*measure(seconds))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
