"""The store's write path alone: commands through the writer to a SQLite file with synchronous=FULL, without gRPC.

    python -m bench.write_path [--seconds 3] [--url URL] [--in-flight 1 32 256] [--request-ids]
                               [--profile create|approve]

Prints commands per second, the process's CPU time per command and the median time per call, for creates and approves at
1, 32 and 256 commands in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from plangate.store.v1 import proposal_pb2

from plangate_core.process.clock import SystemClock
from store_service.commands import ApproveProposal, CreateProposal, RequestKey
from store_service.database.database import open_database
from store_service.domain.actor import Actor
from store_service.domain.canonical import canonical_object
from store_service.domain.proposal import ProposalDraft
from store_service.engine.writer import Writer
from store_service.messages.log_rules import log_rules

_ALICE = Actor("alice", frozenset({"planner"}))
_BOB = Actor("bob", frozenset({"reviewer"}))


@dataclass(frozen=True)
class Measured:
    """What one run gave."""

    what: str
    in_flight: int
    per_second: float
    cpu_microseconds: float
    median_milliseconds: float
    p99_milliseconds: float

    def __str__(self) -> str:
        return (
            f"{self.what:8} {self.in_flight:4} in flight  {self.per_second:8.0f}/s  "
            f"{self.cpu_microseconds:7.1f} us CPU  "
            f"p50 {self.median_milliseconds:7.2f} ms  p99 {self.p99_milliseconds:7.2f} ms"
        )


async def _measure(what: str, in_flight: int, seconds: float, step: Callable[[], Awaitable[bool]]) -> Measured:
    """Runs `step` in `in_flight` tasks until the time is over or it has no more to do."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def worker() -> None:
        while True:
            started = time.perf_counter()
            if started >= end or not await step():
                return
            times.append(time.perf_counter() - started)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    times.sort()
    return Measured(
        what,
        in_flight,
        len(times) / elapsed,
        cpu / len(times) * 1e6,
        statistics.median(times) * 1e3,
        times[int(len(times) * 0.99)] * 1e3,
    )


async def _run(url: str, seconds: float, profiled: str, sizes: list[int], with_request_ids: bool) -> None:
    database = await open_database(url)
    writer = Writer(database, clock=SystemClock(), log_rules=log_rules())
    await writer.start()
    made: list[str] = []
    number = 0

    def request() -> RequestKey | None:
        nonlocal number
        number += 1
        if not with_request_ids:
            return None
        return RequestKey(f"00000000-0000-7000-8000-{number:012x}", number.to_bytes(32, "big"))

    async def create() -> bool:
        args = canonical_object({"path": f"/var/log/app-{number}.log", "days": 30, "force": False}, "action_args")
        draft = ProposalDraft(
            action_name="delete_file", args_json=args, description="Delete a log file.", evidence="logs"
        )
        answer = await writer.execute(CreateProposal(actor=_ALICE, draft=draft, submit=True, request=request()))
        made.append(proposal_pb2.Proposal.FromString(answer.snapshots[0]).id)
        return True

    async def approve() -> bool:
        if not made:
            return False
        await writer.execute(
            ApproveProposal(actor=_BOB, proposal_id=made.pop(), expected_version=1, comment="ok", request=request())
        )
        return True

    for in_flight in sizes:
        for what, step in (("create", create), ("approve", approve)):
            if what == profiled:
                profile = cProfile.Profile()
                profile.enable()
                print(await _measure(what, in_flight, seconds, step))
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            else:
                print(await _measure(what, in_flight, seconds, step), flush=True)
    await writer.stop()
    await database.close()


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--url", default="", help="database to use; default: a new SQLite file")
    parser.add_argument("--profile", choices=("create", "approve"), default="")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--request-ids", action="store_true", help="send a request_id with every command")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plangate-bench-") as directory:
        url = arguments.url or f"sqlite:///{Path(directory) / 'plangate.db'}"
        asyncio.run(_run(url, arguments.seconds, arguments.profile, arguments.in_flight, arguments.request_ids))


if __name__ == "__main__":
    main()
