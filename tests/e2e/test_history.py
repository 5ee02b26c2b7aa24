"""Many clients change few proposals while the store is killed: what they saw must be what a correct store gives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import Patience
from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError, VersionConflict
from rpckit.channel import open_channel
from rpckit.settings import ChannelSettings
from tests.support.history import Read, Write, numbered, violations
from tests.support.processes import ServerProcess, store_process

PROPOSALS = 3
CLIENTS = 12
ONCE = Patience(timeout_seconds=3.0, attempts=1)

# After these the call may or may not have happened.
UNKNOWN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}


def client(address: str) -> StoreClient:
    return StoreClient(open_channel(address, ChannelSettings(), actor="admin"), patience=ONCE)


async def change_and_read(
    addresses: list[str], ids: list[str], name: str, history: list[Write | Read], going_on: Callable[[], bool]
) -> None:
    """One client's loop: read a proposal, change it under the version it read, note both."""
    choice = random.Random(name)
    contents = iter(numbered(name))
    clients = [client(address) for address in addresses]
    try:
        while going_on():
            store, proposal_id = choice.choice(clients), choice.choice(ids)
            start = time.monotonic()
            try:
                seen = await store.proposals.get(proposal_id)
            except PlangateError as error:
                if error.code not in UNKNOWN:
                    raise
                await asyncio.sleep(0.02)
                continue
            history.append(Read(proposal_id, seen.version, seen.description or None, start, time.monotonic()))
            content = next(contents)
            changed = proposal_pb2.Proposal(id=proposal_id, description=content)
            start = time.monotonic()
            try:
                answer = await store.proposals.update(
                    changed, expected_version=seen.version, update_mask=["description"]
                )
            except VersionConflict as conflict:
                current = int(conflict.metadata["current_version"])
                history.append(Read(proposal_id, current, None, start, time.monotonic()))
            except PlangateError as error:
                if error.code not in UNKNOWN:
                    raise
                history.append(Write(proposal_id, seen.version, content, None, start))
            else:
                history.append(Write(proposal_id, seen.version, content, answer.version, start, time.monotonic()))
    finally:
        for store in clients:
            await store.close()


async def run_history(
    stores: list[ServerProcess], *, kills: int, writes_between_kills: int
) -> tuple[list[Write | Read], bool]:
    """Run the clients, kill and restart a store so many times, and return the history and what VerifyEvents says."""
    async with client(stores[0].address) as first:
        ids = [
            (await first.proposals.create(proposal_pb2.Proposal(action_name="restart_service"))).id
            for _ in range(PROPOSALS)
        ]
    history: list[Write | Read] = []
    finished = asyncio.Event()
    addresses = [store.address for store in stores]
    tasks = [
        asyncio.create_task(change_and_read(addresses, ids, f"client{number}", history, lambda: not finished.is_set()))
        for number in range(CLIENTS)
    ]

    def acknowledged() -> int:
        return sum(1 for entry in history if isinstance(entry, Write) and entry.version is not None)

    try:
        for kill in range(kills + 1):
            goal = acknowledged() + writes_between_kills
            async with asyncio.timeout(30):
                while acknowledged() < goal:
                    assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
                    await asyncio.sleep(0.01)
            if kill < kills:
                victim = stores[kill % len(stores)]
                await victim.kill()
                await victim.restart()
    finally:
        finished.set()
        await asyncio.gather(*tasks)
    async with client(stores[0].address) as first:
        for proposal_id in ids:
            start = time.monotonic()
            last = await first.proposals.get(proposal_id)
            history.append(Read(proposal_id, last.version, last.description or None, start, time.monotonic()))
        verified = await first.events.verify()
    return history, verified.valid


@pytest.mark.asyncio
async def test_history_on_sqlite_with_kills_is_possible(tmp_path: Path) -> None:
    async with store_process(tmp_path) as store:
        history, chain_is_valid = await run_history([store], kills=2, writes_between_kills=150)
    assert chain_is_valid
    assert violations(history) == []
    assert any(isinstance(entry, Write) and entry.version is None for entry in history) or len(history) > 300
