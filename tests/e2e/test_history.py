"""Many clients change few proposals while the store is killed: what they saw must be what a correct store gives."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError, VersionConflict
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.history import Read, Write, numbered, violations
from tests.support.processes import ServerProcess, store_process

PROPOSALS = 3
CLIENTS = 12
ONCE = CallPolicy(timeout_seconds=3.0, attempts=1)

# After these the call may or may not have happened.
UNKNOWN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}


def client(address: str) -> StoreClient:
    return StoreClient(open_channel(address, ChannelSettings(), actor="admin"), call_policy=ONCE)


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
        history, chain_is_valid = await run_history([store], kills=2, writes_between_kills=100)
    assert chain_is_valid
    assert violations(history) == []


@pytest.mark.asyncio
async def test_history_of_two_stores_on_one_postgresql_with_kills_is_possible(
    tmp_path: Path, postgres_url: str
) -> None:
    environment = {"PLANGATE_DATABASE_URL": postgres_url}
    async with store_process(tmp_path, environment) as one, store_process(tmp_path, environment) as other:
        history, chain_is_valid = await run_history([one, other], kills=2, writes_between_kills=60)
    assert chain_is_valid
    assert violations(history) == []


@pytest.mark.asyncio
async def test_a_store_that_does_not_compare_versions_is_found_out(tmp_path: Path) -> None:
    planted = {"PLANTED": "no_version_check"}
    async with store_process(tmp_path, planted, module="tests.support.planted_store") as store:
        history, _ = await run_history([store], kills=0, writes_between_kills=100)
    assert violations(history)


@pytest.mark.asyncio
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_a_kill_around_the_commit_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    async with store_process(tmp_path, {"PLANTED": f"kill:{point}:12"}, module="tests.support.planted_store") as store:
        request_ids = [str(uuid.uuid4()) for _ in range(200)]
        acknowledged: dict[str, str] = {}

        async def create(request_id: str) -> None:
            async with client(store.address) as one:
                made = await one.proposals.create(proposal, request_id=request_id)
                acknowledged[request_id] = made.id

        proposal = proposal_pb2.Proposal(action_name="restart_service")
        for start in range(0, len(request_ids), 10):
            await asyncio.gather(*map(create, request_ids[start : start + 10]), return_exceptions=True)
            if len(acknowledged) < start + 10:
                break
        assert 0 < len(acknowledged) < len(request_ids), "the store was not killed in the middle"
    async with store_process(tmp_path) as store:
        before = dict(acknowledged)
        async with client(store.address) as one:
            stored = {made.id async for made in one.proposals.list_all()}
            assert set(before.values()) <= stored
            # A flushed batch without its commit is gone; a committed one is there though nobody was answered.
            assert (
                len(stored - set(before.values())) == 0 if point == "before_commit" else stored > set(before.values())
            )
        await asyncio.gather(*map(create, request_ids))
        assert {key: acknowledged[key] for key in before} == before
        async with client(store.address) as one:
            assert {made.id async for made in one.proposals.list_all()} == set(acknowledged.values())
            assert len(set(acknowledged.values())) == len(request_ids)
            assert (await one.events.verify()).valid
