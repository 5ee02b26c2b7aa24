"""The executor against a real store: claims, leases, cancels, retries, and what it refuses to run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import Ending, Execution, Observer
from plangate_client.executor.executor import Executor
from plangate_client.leased_worker import WorkerOptions
from plangate_core.contract.struct_codec import struct_to_json
from tests.support.lossy_relay import lossy_relay
from tests.support.pair import Pair, running_pair
from tests.support.polling import until

CATALOGUE = """
version: 1
actions:
  - name: touch
    description: Make a file.
    risk: low
    policy: allow
    parameters:
      properties: {name: {type: string}}
      required: [name]
    command:
      argv: ["{python}", -c, "import sys; open(sys.argv[1], 'x').close(); print('made', sys.argv[1])", "{args.name}"]
  - name: wait
    description: Wait for a file to appear.
    policy: allow
    parameters:
      properties: {name: {type: string}, pid: {type: string}}
      required: [name, pid]
    command:
      argv:
        - "{python}"
        - -c
        - |
          import os, sys, time
          with open(sys.argv[2] + ".part", "w") as file:
              file.write(str(os.getpid()))
          os.rename(sys.argv[2] + ".part", sys.argv[2])
          while not os.path.exists(sys.argv[1]):
              time.sleep(0.01)
        - "{args.name}"
        - "{args.pid}"
  - name: flaky
    description: Fails the first time.
    policy: allow
    command:
      argv:
        - "{python}"
        - -c
        - import os, sys; sys.exit(0 if os.path.exists("tried") else (open("tried", "x").close() or 75))
      retry_on_exit: [75]
  - name: risky
    description: Needs somebody's yes.
    policy: require_approval
    command: {argv: ["{python}", -c, ""]}
  - name: foreign
    description: Somebody else's work.
    policy: allow
"""


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


class Worker:
    """An executor and what became of its work."""

    def __init__(self, pair: Pair, *, catalogue: str | None = None, **options: float) -> None:
        self.executions: list[Execution] = []
        self.stop = asyncio.Event()
        self._pair = pair
        self._catalogue = pair.catalogue_file
        if catalogue is not None:
            self._catalogue = pair.directory / "other.yaml"
            self._catalogue.write_text(catalogue)
        self._options = WorkerOptions(**{"lease_seconds": 30.0, "wait_seconds": 5.0, "drain_seconds": 10.0, **options})  # type: ignore[arg-type]

    async def run(self, *, until_idle: bool = True) -> list[Execution]:
        async with self._pair.store("worker") as store:
            catalogue = load_bound_catalogue(self._catalogue)
            executor = Executor(
                store,
                catalogue,
                ExecutionEnvironment(
                    {"PATH": "/usr/bin:/bin"}, self._pair.directory, sys.executable, self._pair.directory
                ),
                options=self._options,
                observer=Observer(ended=self.executions.append),
            )
            await executor.run(self.stop, until_idle=until_idle)
        return self.executions

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[list[Execution]]]:
        task = asyncio.create_task(self.run(until_idle=False))
        try:
            yield task
        finally:
            self.stop.set()
            await asyncio.wait({task})


def gone(pid_file: Path) -> bool:
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def state(pair: Pair, proposal: proposal_pb2.Proposal) -> str:
    async with pair.store() as store:
        now = await store.proposals.get(proposal.id)
    return proposal_pb2.ProposalState.Name(now.state).removeprefix("PROPOSAL_STATE_")


@pytest.mark.asyncio
async def test_carries_out_what_is_approved_and_bound(pair: Pair) -> None:
    allowed, pending, foreign = await pair.submit(("touch", {"name": "a b;c"}), ("risky", {}), ("foreign", {}))
    [execution] = await Worker(pair).run()
    assert execution.ending is Ending.EXECUTED
    assert (pair.directory / "a b;c").exists()
    assert execution.proposal.id == allowed.id
    result = struct_to_json(execution.proposal.result, "result")
    assert (result["exit_status"], result["stdout"], result["output_cut"]) == (0, "made a b;c\n", False)
    assert [await state(pair, proposal) for proposal in (allowed, pending, foreign)] == [
        "EXECUTED",
        "PENDING",
        "APPROVED",
    ]
    async with pair.store("bob") as store:
        await store.proposals.approve(pending.id, expected_version=pending.version)
    [execution] = await Worker(pair).run()
    assert execution.proposal.id == pending.id


@pytest.mark.asyncio
async def test_a_hostile_value_fails_and_runs_nothing(pair: Pair) -> None:
    await pair.submit(("touch", {"name": "-rf"}))
    [execution] = await Worker(pair).run()
    assert execution.ending is Ending.FAILED
    assert execution.proposal.failure.reason == "ARGUMENTS_REFUSED"
    assert "option" in execution.proposal.failure.message


@pytest.mark.asyncio
async def test_its_own_schema_has_the_last_word(pair: Pair) -> None:
    await pair.submit(("touch", {"name": "x" * 20}))
    stricter = CATALOGUE.replace("{name: {type: string}}", "{name: {type: string, maxLength: 10}}")
    [execution] = await Worker(pair, catalogue=stricter).run()
    assert execution.proposal.failure.reason == "ARGUMENTS_REFUSED"
    assert not (pair.directory / ("x" * 20)).exists()


@pytest.mark.asyncio
async def test_tries_again_only_where_the_binding_says_so(pair: Pair) -> None:
    await pair.submit(("flaky", {}), max_attempts=2)
    first, second = await Worker(pair).run()
    assert (first.ending, first.proposal.attempt) == (Ending.FAILED, 1)
    assert (second.ending, second.proposal.attempt) == (Ending.EXECUTED, 2)


@pytest.mark.asyncio
async def test_several_run_at_once_and_leases_are_renewed(pair: Pair) -> None:
    proposals = await pair.submit(
        *(("wait", {"name": "go", "pid": f"pid{number}"}) for number in range(3)), max_attempts=1
    )
    worker = Worker(pair, lease_seconds=4.0, parallel=3)
    async with worker.running(), pair.store() as store:
        await until(lambda: all((pair.directory / f"pid{number}").exists() for number in range(3)))
        first_end = (await store.proposals.get(proposals[0].id)).lease.expire_time.ToMicroseconds()

        async def renewed() -> None:
            while True:
                lease = (await store.proposals.get(proposals[0].id)).lease
                if lease.expire_time.ToMicroseconds() > first_end + 2_000_000:
                    return
                await asyncio.sleep(0.05)

        await asyncio.wait_for(renewed(), 20)
        (pair.directory / "go").touch()
        await until(lambda: len(worker.executions) == 3)
    assert {(execution.ending, execution.proposal.attempt) for execution in worker.executions} == {(Ending.EXECUTED, 1)}


@pytest.mark.asyncio
async def test_the_lease_is_kept_though_every_other_renewal_is_lost(pair: Pair) -> None:
    [proposal] = await pair.submit(("wait", {"name": "go", "pid": "pid"}), max_attempts=1)
    async with lossy_relay(pair.store_address, loses="RenewLease") as relay:
        worker = Worker(dataclasses.replace(pair, store_address=relay.address), lease_seconds=3.0)
        async with worker.running():
            await until(lambda: relay.called >= 4, timeout_seconds=20)
            (pair.directory / "go").touch()
            await until(lambda: len(worker.executions) == 1)
    assert (worker.executions[0].ending, worker.executions[0].proposal.attempt) == (Ending.EXECUTED, 1)
    assert await state(pair, proposal) == "EXECUTED"


@pytest.mark.asyncio
async def test_a_requested_cancel_stops_the_work(pair: Pair) -> None:
    [proposal] = await pair.submit(("wait", {"name": "never", "pid": "pid"}))
    worker = Worker(pair, lease_seconds=2.0)
    async with worker.running(), pair.store() as store:
        await until(lambda: (pair.directory / "pid").exists())
        asked = await store.proposals.cancel(proposal.id, reason="changed my mind")
        assert asked.cancel_requested
        await until(lambda: bool(worker.executions))
    assert worker.executions[0].ending is Ending.CANCELLED
    assert gone(pair.directory / "pid")
    assert await state(pair, proposal) == "CANCELLED"


@pytest.mark.asyncio
async def test_what_runs_is_handed_back_after_the_drain_time(pair: Pair) -> None:
    [proposal] = await pair.submit(("wait", {"name": "never", "pid": "pid"}), max_attempts=2)
    worker = Worker(pair, drain_seconds=0.1)
    async with worker.running():
        await until(lambda: (pair.directory / "pid").exists())
    [execution] = worker.executions
    assert execution.outcome.reason == "EXECUTOR_STOPPED"
    assert gone(pair.directory / "pid")
    assert await state(pair, proposal) == "APPROVED"


@pytest.mark.asyncio
async def test_what_was_leased_but_not_begun_costs_no_attempt(pair: Pair) -> None:
    [proposal] = await pair.submit(("touch", {"name": "begun"}), max_attempts=1)
    async with pair.store("worker") as store:
        catalogue = load_bound_catalogue(pair.catalogue_file)
        environment = ExecutionEnvironment({"PATH": "/usr/bin:/bin"}, pair.directory, sys.executable, pair.directory)
        executor = Executor(store, catalogue, environment)
        [leased] = await store.proposals.claim(lease_seconds=30.0)
        executor.release()
        execution = await executor.carry_out(leased, leased_at=time.monotonic())
    assert (execution.ending, execution.outcome.not_started) == (Ending.RETURNED, True)
    assert execution.proposal.returned_attempts == 1
    assert not (pair.directory / "begun").exists()
    assert await state(pair, proposal) == "APPROVED"
    [execution] = await Worker(pair).run()
    assert (execution.ending, execution.proposal.attempt) == (Ending.EXECUTED, 2)


@pytest.mark.asyncio
async def test_a_lease_that_may_be_old_is_renewed_before_anything_begins(pair: Pair) -> None:
    [proposal] = await pair.submit(("touch", {"name": "begun"}))
    async with pair.store("worker") as store:
        catalogue = load_bound_catalogue(pair.catalogue_file)
        environment = ExecutionEnvironment({"PATH": "/usr/bin:/bin"}, pair.directory, sys.executable, pair.directory)
        executor = Executor(store, catalogue, environment)
        [leased] = await store.proposals.claim(lease_seconds=30.0)
        # Its claim was asked for twenty seconds ago: the answer to the first try was lost.
        execution = await executor.carry_out(leased, leased_at=time.monotonic() - 20)
        assert execution.ending is Ending.EXECUTED
        kinds = [event.kind async for event in store.events.list_all(filter=f'entity_id = "{proposal.id}"')]
    assert kinds[-3:] == ["proposal.claimed", "proposal.lease_renewed", "proposal.executed"]


@pytest.mark.asyncio
async def test_what_runs_is_finished_within_the_drain_time(pair: Pair) -> None:
    [proposal] = await pair.submit(("wait", {"name": "go", "pid": "pid"}))
    worker = Worker(pair)
    async with worker.running() as task:
        await until(lambda: (pair.directory / "pid").exists())
        worker.stop.set()
        (pair.directory / "go").touch()
        await task
    assert worker.executions[0].ending is Ending.EXECUTED
    assert await state(pair, proposal) == "EXECUTED"


@pytest.mark.asyncio
async def test_waits_for_work_to_appear(pair: Pair) -> None:
    worker = Worker(pair, wait_seconds=30.0)
    async with worker.running() as task:
        await pair.submit(("touch", {"name": "late"}))
        await until(lambda: bool(worker.executions))
        worker.stop.set()
        # The claim that is under way would wait for half a minute.
        await asyncio.wait_for(task, 10)
    assert worker.executions[0].ending is Ending.EXECUTED


@pytest.mark.asyncio
async def test_stops_the_work_when_the_store_stays_away(tmp_path: Path) -> None:
    """The lease may be another's by then."""
    async with running_pair(tmp_path, CATALOGUE) as pair:
        await pair.submit(("wait", {"name": "never", "pid": "pid"}))
        worker = Worker(pair, lease_seconds=1.5, drain_seconds=0.0)
        task = asyncio.create_task(worker.run(until_idle=False))
        await until(lambda: (tmp_path / "pid").exists())
    await until(lambda: bool(worker.executions), timeout_seconds=20)
    worker.stop.set()
    await asyncio.wait({task})
    assert worker.executions[0].ending is Ending.LEASE_LOST
    assert gone(tmp_path / "pid")


@pytest.mark.asyncio
async def test_dependencies_run_in_order(pair: Pair) -> None:
    def args(name: str) -> Struct:
        struct = Struct()
        struct.update({"name": name})
        return struct

    jobs = [
        plan_pb2.Job(id="second", action_name="touch", action_args=args("2"), depends_on=["first"], priority=10),
        plan_pb2.Job(id="first", action_name="touch", action_args=args("1")),
    ]
    async with pair.planner() as planner:
        await planner.submit_plan("In order.", jobs)
    executions = await Worker(pair).run()
    assert [execution.proposal.job_id for execution in executions] == ["first", "second"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("directory", "why"), [("no/such", "No such file or directory"), ("catalogue.yaml", "Not a directory")]
)
async def test_a_directory_that_commands_cannot_run_in_is_refused_at_start(
    pair: Pair, directory: str, why: str
) -> None:
    [proposal] = await pair.submit(("touch", {"name": "begun"}))
    done = await pair.command("work", "--once", "--directory", directory)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == f"plangate: --directory: commands cannot run in {directory}: {why}\n"
    assert await state(pair, proposal) == "APPROVED"
    done = await pair.command("work", "--once", "--directory", str(pair.directory))
    assert done.status == 0
    assert await state(pair, proposal) == "EXECUTED"
