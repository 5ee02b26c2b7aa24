"""Clients whose server is restarted underneath them: safe calls wait for it, nothing happens twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_client.errors import Unavailable
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.processes import ServerProcess, store_process

PROPOSAL = proposal_pb2.Proposal(action_name="restart_service")


def client(store: ServerProcess, call_policy: CallPolicy | None = None) -> StoreClient:
    return StoreClient(open_channel(store.address, ChannelSettings(), actor="admin"), call_policy=call_policy)


@pytest.mark.asyncio
@pytest.mark.parametrize("in_order", [True, False], ids=["stopped", "killed"])
async def test_calls_outlast_a_restart(tmp_path: Path, in_order: bool) -> None:
    call_policy = CallPolicy(timeout_seconds=40.0)
    async with store_process(tmp_path) as server, client(server, call_policy) as store, client(server) as other:
        first = await store.proposals.create(PROPOSAL)
        assert (await other.proposals.get(first.id)).id == first.id
        await (server.stop() if in_order else server.kill())
        # While nobody is there: writes carry a request_id, reads are harmless.
        creating = asyncio.create_task(store.proposals.create(PROPOSAL))
        cancelling = asyncio.create_task(store.proposals.cancel(first.id, reason="not needed"))
        reading = asyncio.create_task(other.proposals.get(first.id))
        done, _ = await asyncio.wait({creating, cancelling, reading}, timeout=0.5)
        assert not done
        await server.restart()
        made, cancelled = await creating, await cancelling
        assert (await reading).id == first.id
        assert {stored.id async for stored in store.proposals.list_all()} == {first.id, made.id}
        assert cancelled.version == first.version + 1


@pytest.mark.asyncio
async def test_a_server_that_stays_away_is_told_apart_from_a_slow_one(tmp_path: Path) -> None:
    async with store_process(tmp_path) as server, client(server, CallPolicy(timeout_seconds=1.0)) as store:
        await store.proposals.create(PROPOSAL)
        await server.kill()
        with pytest.raises(Unavailable):
            await store.proposals.create(PROPOSAL)
