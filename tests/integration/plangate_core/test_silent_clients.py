"""Clients whose network goes silent: the server notices in bounded time and takes everything back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.polling import until
from tests.support.served_store import Client, RunningStore, running_store
from tests.support.silent_network import SilentNetwork, silent_network

# The time-out is long enough for this process, which holds both ends and the network, to be held up by a busy machine.
KEEPALIVE_SECONDS, TIMEOUT_SECONDS = 0.3, 2.5
BOUND_SECONDS = 10.0


@pytest_asyncio.fixture
async def store(sqlite_url: str) -> AsyncIterator[RunningStore]:
    async with running_store(
        sqlite_url,
        keepalive_seconds=KEEPALIVE_SECONDS,
        keepalive_timeout_seconds=TIMEOUT_SECONDS,
        sweep_seconds=0.05,
        metrics_listen="127.0.0.1:0",
    ) as store:
        yield store


def behind(network: SilentNetwork, actor: str) -> Client:
    """A client that does not look for silence itself."""
    options = [("grpc.keepalive_time_ms", 3_600_000)]
    return Client(open_channel(network.address, ChannelSettings(), actor=actor, options=options))


def in_flight(store: RunningStore, kind: str) -> float:
    metrics = store.server.grpc.metrics
    assert metrics is not None
    return metrics.registry.get_sample_value("plangate_rpc_in_flight", {"kind": kind}) or 0.0


async def approved(store: RunningStore, **fields: object) -> proposal_pb2.Proposal:
    return await store.alice.approve(await store.planner.propose(**fields))


@pytest.mark.asyncio
async def test_a_watcher_and_a_waiting_claimer_that_went_silent_are_let_go(store: RunningStore) -> None:
    async with silent_network(store.target) as network:
        watcher, claimer = behind(network, "bob"), behind(network, "gone")
        watch = watcher.events.WatchEvents(rpc.WatchEventsRequest(start_revision=1))
        assert (await watch.read()).HasField("progress")
        waiting = claimer.proposals.ClaimProposals(rpc.ClaimProposalsRequest(wait_duration={"seconds": 60}))
        await until(lambda: in_flight(store, "unary") == 1)
        assert in_flight(store, "stream") == 1
        # A client that answers is kept, however long nothing is said.
        await asyncio.sleep(1.5 * (KEEPALIVE_SECONDS + TIMEOUT_SECONDS))
        assert (in_flight(store, "stream"), in_flight(store, "unary")) == (1, 1)

        network.silence()
        silent_at = time.monotonic()
        await until(
            lambda: in_flight(store, "stream") == 0 and in_flight(store, "unary") == 0, timeout_seconds=BOUND_SECONDS
        )
        await until(lambda: network.closed_by_server == network.connections, timeout_seconds=BOUND_SECONDS)
        assert time.monotonic() - silent_at < BOUND_SECONDS
        # Work goes to those who are there, not to the one who waited first.
        here = asyncio.ensure_future(store.worker.claim(wait_duration={"seconds": 20}))
        ready = await approved(store)
        [claimed] = await here
        assert (claimed.id, claimed.lease.worker, claimed.attempt) == (ready.id, "worker", 1)
        watch.cancel()
        waiting.cancel()
        for client in (watcher, claimer):
            await client.channel.close()


@pytest.mark.asyncio
async def test_the_lease_of_an_executor_that_went_silent_comes_back(store: RunningStore) -> None:
    async with silent_network(store.target) as network:
        executor = behind(network, "gone")
        ready = await approved(store, max_attempts=3, idempotent=True)
        [held] = await executor.claim(lease_duration={"seconds": 1})
        assert held.id == ready.id
        # It waits for more, and the silence begins before anybody can tell it: what it is given then is lost.
        waiting = executor.proposals.ClaimProposals(
            rpc.ClaimProposalsRequest(wait_duration={"seconds": 60}, lease_duration={"seconds": 1})
        )
        await until(lambda: in_flight(store, "unary") == 1)
        network.silence()
        second = await approved(store, max_attempts=3, idempotent=True)
        # Both come back when their leases have run out, and are given to the one who is there.
        claimed: dict[str, int] = {}
        async with asyncio.timeout(30):
            while len(claimed) < 2:
                for proposal in await store.worker.claim(wait_duration={"seconds": 5}, max_proposals=2):
                    claimed[proposal.id] = proposal.attempt
        assert claimed[ready.id] == 2
        assert claimed[second.id] in (1, 2)
        late = rpc.CompleteProposalRequest(id=ready.id, attempt=1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await store.as_("gone").proposals.CompleteProposal(late)
        assert refused.value.code() is grpc.StatusCode.ABORTED
        waiting.cancel()
        await executor.channel.close()
