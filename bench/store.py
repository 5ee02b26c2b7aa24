"""The store's write path against its ceiling and its peers, all in one run on one machine.

    python -m bench.store [SECONDS [ROUNDS]]

Writes bench/results/store.json, docs/laboratory/benchmarks-store.md and docs/laboratory/benchmarks-store.svg.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.processes import ROOT, cpu_seconds, free_port, server, store
from bench.report import MACHINE, TODAY, Row, table, write_picture, write_report
from tests.support.databases import PostgresServer

LOAD = ROOT / "build" / "load" / "load"
CEILING = "bare grpc.aio echo"
CLIENTS = (1, 8, 64, 256)
SCENARIOS = """\
`create`: one pending proposal a call. `approve`: one approval a call. `cycle`: create, approve, claim and complete, one
after the other. `batch-create`: 50 proposals a call, counted one by one; latencies are those of calls."""


def build_load() -> None:
    """Compile the load generator. Raises SystemExit with what to install when the tools are missing."""
    missing = [tool for tool in ("g++", "protoc", "grpc_cpp_plugin", "pkg-config") if not shutil.which(tool)]
    if missing:
        raise SystemExit(
            f"bench needs {', '.join(missing)} for its compiled load generator; on Debian: "
            "apt-get install g++ pkg-config libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev"
        )
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "load")], check=True)


def load(scenario: str, target: str, clients: int, seconds: float, prepared: int = 0) -> dict[str, Any]:
    """Run one scenario of the load generator and return what it printed."""
    argv = [str(LOAD), scenario, target, str(clients), str(seconds), "256", str(prepared)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if not done.stdout:
        raise RuntimeError(f"{scenario} against {target}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["first_error"] = done.stderr.strip()
    return answer


def load_all(scenario: str, targets: Sequence[str], clients: int, seconds: float, prepared: int) -> dict[str, Any]:
    """`load` on several servers at once, each with its share of the clients: rates added, latencies of the slowest."""
    with ThreadPoolExecutor(len(targets)) as threads:
        shares = [
            threads.submit(load, scenario, target, clients // len(targets), seconds, prepared) for target in targets
        ]
        answers = [share.result() for share in shares]
    summed = {
        key: sum(answer[key] for answer in answers) for key in ("per_second", "operations", "conflicts", "errors")
    }
    slowest = {key: max(answer[key] for answer in answers) for key in ("p50_ms", "p99_ms")}
    return {**answers[0], **summed, **slowest, "clients": clients}


@contextlib.contextmanager
def peer(argv: Sequence[str], port: int) -> Iterator[str]:
    """Another server, until the end of the block; its address once it listens on that port."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


@contextlib.contextmanager
def etcd(directory: Path) -> Iterator[str]:
    """A single etcd member on disk."""
    port = free_port()
    client, member = (f"http://127.0.0.1:{number}" for number in (port, free_port()))
    options = {
        "data-dir": str(directory / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": member,
        "initial-advertise-peer-urls": member,
        "initial-cluster": f"default={member}",
        "log-level": "error",
    }
    with peer(["etcd", *(f"--{name}={value}" for name, value in options.items())], port) as address:
        yield address


@contextlib.contextmanager
def temporal(program: str, directory: Path) -> Iterator[str]:
    """Temporal's development server with its SQLite file."""
    port = free_port()
    argv = [program, "server", "start-dev", "--headless", "--port", str(port)]
    with peer([*argv, "--db-filename", str(directory / "temporal.db"), "--log-level", "never"], port) as address:
        time.sleep(5)  # the port opens before its namespace exists; not part of any measurement
        yield address


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL server with its defaults (fsync is on); the URL of an empty database."""
    server = PostgresServer(directory)
    server.start(durable=True)
    try:
        yield server.url("postgres")
    finally:
        server.stop()


def executemany(directory: Path) -> Row:
    """What SQLite itself does with bare executemany and one durable commit per batch."""
    rows, batch = 20_000, 64
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE proposals (id INTEGER PRIMARY KEY, body TEXT)")
    begun = time.perf_counter()
    for start in range(0, rows, batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO proposals VALUES (?, ?)", [(start + i, "x" * 512) for i in range(batch)])
        connection.execute("COMMIT")
    rate = rows / (time.perf_counter() - begun)
    connection.close()
    return Row("create", "SQLite executemany, no server", batch, rate, 0, 0, f"batches of {batch}")


def measure(seconds: float) -> list[Row]:
    """All scenarios; the servers are started one after another, never two at once."""
    rows: list[Row] = []

    def note(system: str, answer: dict[str, Any], cpu: float | None = None) -> None:
        parts = []
        if answer["conflicts"]:
            parts.append(f"{answer['conflicts']} conflicts")
        if answer["errors"]:
            parts.append(f"{answer['errors']} errors: {answer['first_error']}")
        if cpu is not None and answer["operations"]:
            parts.append(f"{cpu / answer['operations'] * 1e6:.0f} us server CPU each")
        row = Row(
            answer["scenario"].removeprefix("etcd-"),
            system,
            answer["clients"],
            answer["per_second"],
            answer["p50_ms"],
            answer["p99_ms"],
            ", ".join(parts),
        )
        rows.append(row)
        rate = f"{row.per_second:9.0f}/s  p99 {row.p99_ms:8.1f} ms"
        print(f"{row.scenario:8} {row.system:32} {row.clients:4} {rate}  {row.remark}", flush=True)

    with server([sys.executable, "-m", "bench.echo_server"]) as (target, _):
        for clients in CLIENTS:
            note(CEILING, load("echo", target, clients, seconds))
    with tempfile.TemporaryDirectory() as directory, store(Path(directory) / "store.db") as (target, pid):
        for scenario in ("create", "approve", "cycle", "batch-create"):
            for clients in CLIENTS:
                before = cpu_seconds(pid)
                if scenario == "batch-create" and clients > 64:
                    continue
                answer = load(scenario, target, clients, seconds, prepared=int(seconds * 6000))
                note("plangate", answer, None if scenario == "approve" else cpu_seconds(pid) - before)
    with (
        tempfile.TemporaryDirectory() as directory,
        postgres(Path(directory)) as url,
        store(url) as (one, _),
        store(url) as (two, _),
    ):
        for targets, system in (([one], "plangate on PostgreSQL"), ([one, two], "two on one PostgreSQL")):
            for scenario in ("create", "approve", "cycle"):
                note(system, load_all(scenario, targets, 64, seconds, prepared=int(seconds * 2000)))
    with tempfile.TemporaryDirectory() as directory:
        naive = [sys.executable, "-m", "bench.naive_server", f"{directory}/naive.db"]
        with server(naive) as (target, _):
            for scenario in ("create", "approve"):
                for clients in CLIENTS:
                    note(
                        "one transaction per request",
                        load(scenario, target, clients, seconds, prepared=int(seconds * 600)),
                    )
        rows.append(executemany(Path(directory)))
    if shutil.which("etcd"):
        with tempfile.TemporaryDirectory() as directory, etcd(Path(directory)) as target:
            for clients in CLIENTS:
                note("etcd", load("etcd-approve", target, clients, seconds, prepared=int(seconds * 8000)))
    if program := shutil.which("temporal", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}"):
        with tempfile.TemporaryDirectory() as directory, temporal(program, Path(directory)) as target:
            argv = [sys.executable, "-m", "bench.temporal_cycle", target, "50", str(seconds)]
            done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=300)
            if done.returncode == 0:
                note("Temporal dev server", json.loads(done.stdout))
            else:
                print("Temporal:", done.stderr[-500:])
    return rows


def middle(rounds: list[list[Row]]) -> list[Row]:
    """Of each measurement the one whose rate is the median of the rounds."""
    measured: dict[tuple[str, str, int], list[Row]] = {}
    for rows in rounds:
        for row in rows:
            measured.setdefault((row.scenario, row.system, row.clients), []).append(row)
    return [sorted(same, key=lambda row: row.per_second)[len(same) // 2] for same in measured.values()]


def main(seconds: float = 5.0, rounds: int = 1) -> None:
    """Measure so many times, each scenario for so many seconds, and write the report of the middle values."""
    build_load()
    rows = middle([measure(seconds) for _ in range(rounds)])
    how = f"{seconds:g} s a line" if rounds == 1 else f"medians of {rounds} rounds of {seconds:g} s a line"
    ceilings = {row.clients: row.per_second for row in rows if row.system == CEILING}

    def cells(row: Row) -> list[str]:
        ratio = f"{row.per_second / ceilings[row.clients]:.2f}" if row.clients in ceilings else ""
        numbers = [str(row.clients), f"{row.per_second:,.0f}", f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", ratio]
        return [row.scenario, row.system, *numbers, row.remark]

    lines = [
        "# Benchmarks: the store",
        "",
        f"Measured on {TODAY} by `python -m bench.store` on {MACHINE}: {how}.",
        "Numbers of different runs or machines do not compare; ratios within this one do.",
        f'"Of ceiling" is the rate as a part of what the {CEILING} does with as many clients.',
        "",
        "![Benchmarks: the store](benchmarks-store.svg)",
        "",
        *table(
            "scenario | system | clients: | per second: | p50 ms: | p99 ms: | of ceiling: | remark",
            map(cells, rows),
        ),
        "",
        *SCENARIOS.splitlines(),
    ]
    write_report("store", lines, {"how": how, "rows": [asdict(row) for row in rows]})
    write_picture("store", rows, "plangate")


def _wait_for(port: int, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
