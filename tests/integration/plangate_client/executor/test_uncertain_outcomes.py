"""The executor in front of a store that is busy, slow, or does not know what became of a call."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_client.errors import RoleMissing
from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import Ending, Execution, Observer
from plangate_client.executor.executor import Executor
from plangate_client.leased_worker import WorkerOptions
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import RpcFailure
from tests.support.failing_relay import Failing, failing_relay
from tests.support.lossy_relay import lossy_relay
from tests.support.pair import Pair, running_pair
from tests.support.polling import until

CATALOGUE = """
version: 1
actions:
  - name: note
    description: Write a line that tells of one more run.
    policy: allow
    command: {argv: ["{python}", -c, "open('runs', 'a').write('ran\\\\n')"]}
  - name: wait
    description: Wait for a file to appear.
    policy: allow
    command:
      argv:
        - "{python}"
        - -c
        - |
          import os, time
          open("begun", "x").close()
          while not os.path.exists("go"):
              time.sleep(0.01)
"""
OVERLOADED = RpcFailure(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "too many calls at once", retry_after_seconds=0.2
)
TIMED_OUT = RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED, "", "Deadline Exceeded")
COMMIT_UNKNOWN = RpcFailure(grpc.StatusCode.UNKNOWN, "COMMIT_UNKNOWN", "the commit may have happened")
INTERNAL = RpcFailure(grpc.StatusCode.INTERNAL, "INTERNAL", "the server failed")
ROLE_MISSING = RpcFailure(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING", "you are no executor")
LEASE_LOST = RpcFailure(grpc.StatusCode.ABORTED, "LEASE_LOST", "the lease is another's")


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


def first(count: int, method: str, failure: RpcFailure, *, after: int = 0) -> Failing:
    """The first so many calls of the method fail, not counting the first `after` of all."""
    seen = 0

    def failing(name: str) -> RpcFailure | None:
        nonlocal seen
        if name != method:
            return None
        seen += 1
        return failure if after < seen <= after + count else None

    return failing


def client(address: str) -> StoreClient:
    """A client that repeats nothing by itself: what fails reaches the executor."""
    return StoreClient(open_channel(address, ChannelSettings(), actor="worker"), call_policy=CallPolicy(attempts=1))


def environment(pair: Pair) -> ExecutionEnvironment:
    return ExecutionEnvironment({"PATH": "/usr/bin:/bin"}, pair.directory, sys.executable, pair.directory)


def runs(pair: Pair) -> int:
    file = pair.directory / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


async def now(pair: Pair, proposal: proposal_pb2.Proposal) -> proposal_pb2.Proposal:
    async with pair.store() as store:
        return await store.proposals.get(proposal.id)


async def carried_out(
    pair: Pair,
    address: str,
    *,
    age_seconds: float = 0.0,
    lease_seconds: float = 30.0,
    release: asyncio.Event | None = None,
) -> Execution:
    """Claim one proposal from the store, and let the executor carry it out with a store at this address.

    :param age_seconds: how long ago the claim seems to have been made.
    :param lease_seconds: how long the executor thinks that it may work; the store gives half a minute.
    """
    catalogue = load_bound_catalogue(pair.catalogue_file)
    async with client(pair.store_address) as store, client(address) as relayed:
        [leased] = await store.proposals.claim(lease_seconds=30.0)
        executor = Executor(relayed, catalogue, environment(pair), options=WorkerOptions(lease_seconds=lease_seconds))
        leased_at = time.monotonic() - age_seconds
        working = asyncio.create_task(executor.carry_out(leased, leased_at=leased_at))
        if release is not None:
            await release.wait()
            executor.release()
        return await working


class Running:
    """An executor that claims, until the end of the block."""

    def __init__(self, pair: Pair, address: str, **options: float) -> None:
        self.executions: list[Execution] = []
        self.told_seconds: list[float] = []
        self.stop = asyncio.Event()
        self._pair = pair
        self._address = address
        self._options = WorkerOptions(**{"lease_seconds": 30.0, "wait_seconds": 5.0, "drain_seconds": 60.0, **options})  # type: ignore[arg-type]

    async def run(self) -> None:
        async with client(self._address) as store:
            executor = Executor(
                store,
                load_bound_catalogue(self._pair.catalogue_file),
                environment(self._pair),
                options=self._options,
                observer=Observer(
                    ended=self.executions.append, store_away=lambda _, seconds: self.told_seconds.append(seconds)
                ),
            )
            await executor.run(self.stop)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.run())
        try:
            yield task
        finally:
            self.stop.set()
            (self._pair.directory / "go").touch()
            await asyncio.wait({task})


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [OVERLOADED, TIMED_OUT, COMMIT_UNKNOWN], ids=lambda failure: failure.code.name)
@pytest.mark.parametrize("happened", [False, True])
async def test_what_is_done_is_reported_until_the_store_takes_it(
    pair: Pair, failure: RpcFailure, happened: bool
) -> None:
    [proposal] = await pair.submit(("note", {}), max_attempts=2)
    failing = first(2, "CompleteProposal", failure)
    async with failing_relay(pair.store_address, failing, passes_on=happened) as relay:
        execution = await carried_out(pair, relay.address)
        reports = [rpc.CompleteProposalRequest.FromString(data) for data in relay.requests["CompleteProposal"]]
    assert (execution.ending, execution.proposal.attempt) == (Ending.EXECUTED, 1)
    assert len(reports) == 3
    assert len({report.request_id for report in reports}) == 1
    assert (await now(pair, proposal)).state == proposal_pb2.PROPOSAL_STATE_EXECUTED
    assert runs(pair) == 1


@pytest.mark.asyncio
async def test_a_report_waits_as_long_as_a_busy_store_asks(pair: Pair) -> None:
    await pair.submit(("note", {}))
    busy = RpcFailure(OVERLOADED.code, OVERLOADED.reason, OVERLOADED.message, retry_after_seconds=2.5)
    async with failing_relay(pair.store_address, first(1, "CompleteProposal", busy)) as relay:
        started = time.monotonic()
        execution = await carried_out(pair, relay.address)
    assert execution.ending is Ending.EXECUTED
    assert time.monotonic() - started >= 2.5


@pytest.mark.asyncio
async def test_a_report_whose_answer_was_lost_is_asked_for_once_more_when_it_ended_the_lease(pair: Pair) -> None:
    """The next renewal hears that the lease is lost: the report has ended it."""
    await pair.submit(("note", {}))
    renewals = 0

    def failing(method: str) -> RpcFailure | None:
        nonlocal renewals
        renewals += method == "RenewLease"
        return TIMED_OUT if method == "CompleteProposal" and not renewals else None

    async with failing_relay(pair.store_address, failing, passes_on=True) as relay:
        execution = await carried_out(pair, relay.address, lease_seconds=6.0)
    assert execution.ending is Ending.EXECUTED
    assert runs(pair) == 1


@pytest.mark.asyncio
async def test_a_report_that_the_store_refuses_is_given_up(pair: Pair) -> None:
    [proposal] = await pair.submit(("note", {}))
    async with failing_relay(pair.store_address, first(100, "CompleteProposal", INTERNAL)) as relay:
        execution = await carried_out(pair, relay.address)
        assert relay.calls("CompleteProposal") == 1
    assert execution.ending is Ending.NOT_REPORTED
    assert (await now(pair, proposal)).state == proposal_pb2.PROPOSAL_STATE_EXECUTING


@pytest.mark.asyncio
async def test_a_report_is_given_up_when_the_lease_has_ended(pair: Pair) -> None:
    await pair.submit(("note", {}))
    stopping = asyncio.Event()
    stopping.set()

    def failing(method: str) -> RpcFailure | None:
        return OVERLOADED if method in ("FailProposal", "RenewLease") else None

    async with failing_relay(pair.store_address, failing) as relay:
        execution = await carried_out(pair, relay.address, lease_seconds=3.0, release=stopping)
        assert relay.calls("FailProposal") > 1
    assert execution.ending is Ending.NOT_REPORTED


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [OVERLOADED, TIMED_OUT, COMMIT_UNKNOWN], ids=lambda failure: failure.code.name)
async def test_a_first_renewal_that_fails_is_tried_again(pair: Pair, failure: RpcFailure) -> None:
    [proposal] = await pair.submit(("note", {}), max_attempts=1)
    async with failing_relay(pair.store_address, first(2, "RenewLease", failure)) as relay:
        execution = await carried_out(pair, relay.address, age_seconds=15.0)
    assert execution.ending is Ending.EXECUTED
    assert (await now(pair, proposal)).state == proposal_pb2.PROPOSAL_STATE_EXECUTED


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [OVERLOADED, ROLE_MISSING], ids=lambda failure: failure.code.name)
async def test_nothing_begins_without_a_sure_lease_and_it_is_given_back(pair: Pair, failure: RpcFailure) -> None:
    [proposal] = await pair.submit(("note", {}), max_attempts=1)
    async with failing_relay(pair.store_address, first(1000, "RenewLease", failure)) as relay:
        execution = await carried_out(pair, relay.address, age_seconds=60.0, lease_seconds=3.0)
    assert (execution.ending, execution.outcome.reason) == (Ending.RETURNED, "LEASE_NOT_RENEWED")
    assert failure.reason in execution.outcome.message
    assert runs(pair) == 0
    after = await now(pair, proposal)
    assert (after.state, after.returned_attempts) == (proposal_pb2.PROPOSAL_STATE_APPROVED, 1)


@pytest.mark.asyncio
async def test_a_lease_that_is_lost_at_the_first_renewal_is_let_go(pair: Pair) -> None:
    await pair.submit(("note", {}))
    async with failing_relay(pair.store_address, first(1, "RenewLease", LEASE_LOST)) as relay:
        execution = await carried_out(pair, relay.address, age_seconds=15.0)
        assert relay.calls("FailProposal") == 0
    assert execution.ending is Ending.LEASE_LOST
    assert runs(pair) == 0


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_the_first_renewal(pair: Pair) -> None:
    [proposal] = await pair.submit(("note", {}), max_attempts=1)
    release = asyncio.Event()
    async with lossy_relay(pair.store_address, loses="RenewLease") as relay:
        task = asyncio.create_task(carried_out(pair, relay.address, age_seconds=15.0, release=release))
        await until(lambda: relay.called == 1)
        release.set()
        execution = await task
        assert relay.called == 1
    assert (execution.ending, execution.outcome.reason) == (Ending.RETURNED, "EXECUTOR_STOPPED")
    assert runs(pair) == 0
    assert (await now(pair, proposal)).state == proposal_pb2.PROPOSAL_STATE_APPROVED


@pytest.mark.asyncio
@pytest.mark.parametrize("happened", [False, True])
async def test_a_claim_of_which_nobody_knows_is_made_again_while_other_work_runs(pair: Pair, happened: bool) -> None:
    [waiting] = await pair.submit(("wait", {}), max_attempts=1)
    failing = first(2, "ClaimProposals", COMMIT_UNKNOWN, after=1)
    async with failing_relay(pair.store_address, failing, passes_on=happened) as relay:
        executor = Running(pair, relay.address)
        async with executor.running() as task:
            await until(lambda: (pair.directory / "begun").exists(), timeout_seconds=60)
            [noted] = await pair.submit(("note", {}), max_attempts=1)
            await until(lambda: len(executor.executions) == 1, timeout_seconds=60)
            assert not task.done()
            (pair.directory / "go").touch()
            await until(lambda: len(executor.executions) == 2, timeout_seconds=60)
        claims = [rpc.ClaimProposalsRequest.FromString(data) for data in relay.requests["ClaimProposals"]]
    assert [(done.proposal.id, done.ending, done.proposal.attempt) for done in executor.executions] == [
        (noted.id, Ending.EXECUTED, 1),
        (waiting.id, Ending.EXECUTED, 1),
    ]
    assert len({claim.request_id for claim in claims[1:4]}) == 1


@pytest.mark.asyncio
async def test_what_runs_may_finish_when_the_store_refuses_the_executor(pair: Pair) -> None:
    await pair.submit(("wait", {}))
    failing = first(1000, "ClaimProposals", ROLE_MISSING, after=1)
    async with failing_relay(pair.store_address, failing) as relay:
        executor = Running(pair, relay.address)
        async with executor.running() as task:
            await until(
                lambda: (pair.directory / "begun").exists() and relay.calls("ClaimProposals") == 2, timeout_seconds=60
            )
            # What would stop the work has its chance.
            await asyncio.wait({task}, timeout=1.0)
            assert not task.done()
            (pair.directory / "go").touch()
            with pytest.raises(RoleMissing):
                await task
        assert relay.calls("ClaimProposals") == 2
    assert [execution.ending for execution in executor.executions] == [Ending.EXECUTED]


@pytest.mark.asyncio
async def test_what_still_runs_after_a_refusal_and_the_drain_time_is_handed_back(pair: Pair) -> None:
    [proposal] = await pair.submit(("wait", {}), max_attempts=2)
    failing = first(1000, "ClaimProposals", ROLE_MISSING, after=1)
    async with failing_relay(pair.store_address, failing) as relay:
        executor = Running(pair, relay.address, drain_seconds=2.0)
        with pytest.raises(RoleMissing):
            await executor.run()
    assert [execution.outcome.reason for execution in executor.executions] == ["EXECUTOR_STOPPED"]
    assert (await now(pair, proposal)).state == proposal_pb2.PROPOSAL_STATE_APPROVED


@pytest.mark.asyncio
async def test_claims_are_made_again_as_late_as_is_told(pair: Pair) -> None:
    came: list[float] = []
    wishes = [0.05, None, 2.5, 0.05]

    def failing(method: str) -> RpcFailure | None:
        if method != "ClaimProposals":
            return None
        came.append(time.monotonic())
        if len(came) > len(wishes):
            return None
        return RpcFailure(OVERLOADED.code, "OVERLOADED", "busy", retry_after_seconds=wishes[len(came) - 1])

    async with failing_relay(pair.store_address, failing) as relay:
        executor = Running(pair, relay.address)
        async with executor.running():
            await until(lambda: len(came) == 5, timeout_seconds=60)
    assert executor.told_seconds == [0.5, 1.0, 2.5, 4.0]
    waited = [later - earlier for earlier, later in itertools.pairwise(came[:5])]
    # Two clocks of one machine: a hundredth is their difference.
    assert all(actual > told - 0.01 for actual, told in zip(waited, executor.told_seconds, strict=True))
