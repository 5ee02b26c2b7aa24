"""A store under faults of its machine: what was acknowledged is there, nothing else is, and the chain verifies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import CallPolicy, new_request_id
from plangate_client.client import StoreClient
from plangate_client.errors import LeaseLost, PlangateError
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from store_service.database.sqlite.backup import BackupRefused, back_up
from tests.support.damage import FailingSyncs, WallClock, small_disk
from tests.support.pair import clean_environment
from tests.support.processes import ServerProcess, store_process

ONCE = CallPolicy(timeout_seconds=10.0, attempts=1)
NOTHING_STORED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def client(store: ServerProcess, actor: str = "admin", call_policy: CallPolicy = ONCE) -> StoreClient:
    return StoreClient(open_channel(store.address, ChannelSettings(), actor=actor), call_policy=call_policy)


def proposal(size: int = 0) -> proposal_pb2.Proposal:
    args = Struct()
    args.update({"padding": "x" * size})
    return proposal_pb2.Proposal(action_name="restart_service", action_args=args)


async def ids_in(store: StoreClient) -> set[str]:
    return {stored.id async for stored in store.proposals.list_all()}


async def is_serving(server: ServerProcess, name: str) -> bool:
    async with grpc.aio.insecure_channel(server.address) as channel:
        found = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
        return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


async def until_writable(store: StoreClient, seconds: float = 20.0) -> str:
    """Writes until a write succeeds; the store must come back by itself."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return (await store.proposals.create(proposal())).id
            except PlangateError:
                await asyncio.sleep(0.1)


@pytest.mark.asyncio
async def test_a_full_disk_refuses_writes_and_harms_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=12) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(6 * 1024 * 1024))
        environment = {"PLANGATE_DATABASE_URL": f"sqlite:///{disk}/plangate.db"}
        async with store_process(tmp_path, environment) as server, client(server) as store:
            acknowledged: set[str] = set()
            refused: PlangateError | None = None
            for _ in range(500):
                try:
                    acknowledged.add((await store.proposals.create(proposal(size=30_000))).id)
                except PlangateError as error:
                    refused = error
                    break
            assert refused is not None, "the disk never got full"
            assert refused.code in NOTHING_STORED
            assert refused.reason == "DATABASE_UNAVAILABLE"
            assert str(disk) not in refused.message
            assert not await is_serving(server, "plangate.store.database")
            assert await is_serving(server, "")
            assert await ids_in(store) == acknowledged
            ballast.unlink()
            acknowledged.add(await until_writable(store))
            assert await is_serving(server, "plangate.store.database")
            assert await ids_in(store) == acknowledged
            assert (await store.events.verify()).valid


@pytest.mark.asyncio
async def test_a_failing_fdatasync_acknowledges_nothing(tmp_path: Path) -> None:
    syncs = FailingSyncs()
    async with store_process(tmp_path, launcher=syncs.launcher) as server, client(server) as store:
        acknowledged = {(await store.proposals.create(proposal())).id}
        syncs.turn_on(server.pid)
        request_id = new_request_id()
        with pytest.raises(PlangateError) as failed:
            await store.proposals.create(proposal(), request_id=request_id)
        assert failed.value.code in NOTHING_STORED | {grpc.StatusCode.UNKNOWN}
        syncs.turn_off(server.pid)
        acknowledged.add(await until_writable(store))
        # The same request again gives one proposal, whether or not the failed commit reached the disk.
        acknowledged.add((await store.proposals.create(proposal(), request_id=request_id)).id)
        assert await ids_in(store) == acknowledged
        await server.kill()
        await server.restart()
        async with client(server, call_policy=CallPolicy()) as again:
            assert await ids_in(again) == acknowledged
            assert (await again.events.verify()).valid


@pytest.mark.asyncio
async def test_a_clock_that_jumps_costs_a_lease_at_most(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    async with store_process(tmp_path, clock.environment) as server, client(server) as store:
        async with client(server, "worker") as worker:
            for _ in range(2):
                made = await store.proposals.create(
                    proposal_pb2.Proposal(action_name="restart_service", max_attempts=3), submit=True
                )
                async with client(server, "bob") as bob:
                    await bob.proposals.approve(made.id, expected_version=1)
            [first] = await worker.proposals.claim(max_proposals=1, lease_seconds=60)
            clock.move("-1h")
            # Back in time: the lease holds, and work goes on.
            assert (await worker.proposals.renew_lease(first.id, attempt=1)).lease.attempt == 1
            await worker.proposals.complete(first.id, attempt=1)
            [second] = await worker.proposals.claim(max_proposals=1, lease_seconds=60)
            clock.move("+2h")
            # Forward: the lease has run out by the clock, the sweeper gives the proposal to the next one.
            [again] = await worker.proposals.claim(max_proposals=1, wait_seconds=8)
            assert (again.id, again.attempt) == (second.id, 2)
            with pytest.raises(LeaseLost):
                await worker.proposals.complete(second.id, attempt=1)
            await worker.proposals.complete(second.id, attempt=2)
        events = [event async for event in store.events.list_all()]
        assert [event.revision for event in events] == list(range(1, len(events) + 1))
        assert (await store.events.verify()).valid


@pytest.mark.asyncio
async def test_a_damaged_file_is_told_of_where_it_is_met(tmp_path: Path) -> None:
    async with store_process(tmp_path) as server, client(server) as store:
        for _ in range(50):
            await store.proposals.create(proposal(size=2000))
    file = tmp_path / "plangate.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        pages = [
            page for (page,) in database.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'proposals'")
        ]
    content = bytearray(file.read_bytes())
    for page in pages:
        content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)
    # SQLite reads pages when they are needed: the store can start, and meets the damage later.
    async with store_process(tmp_path) as server, client(server) as store:
        for call in (ids_in(store), store.proposals.create(proposal())):
            with pytest.raises(PlangateError) as refused:
                await call
            assert refused.value.reason == "DATABASE_UNAVAILABLE"
        assert "database disk image is malformed" in server.log()
        assert "Traceback" not in server.log()
    check = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "store_service", "check"),
        env={**clean_environment(), "PLANGATE_DATABASE_URL": f"sqlite:///{file}"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await check.communicate()
    assert (check.returncode, said.count(b"\n")) == (1, 1)
    assert b"database disk image is malformed" in said


@pytest.mark.asyncio
async def test_a_database_file_that_is_removed_ends_the_store_with_a_copy(tmp_path: Path) -> None:
    async with store_process(tmp_path) as server:
        async with client(server) as store:
            acknowledged = {(await store.proposals.create(proposal())).id for _ in range(3)}
        for name in os.listdir(tmp_path):
            if name.startswith("plangate.db"):
                os.unlink(tmp_path / name)
        async with asyncio.timeout(20):
            assert await server.ended() == 1
        [copy] = [tmp_path / name for name in os.listdir(tmp_path) if name.endswith(".rescued")]
        [line] = [line for line in server.log().splitlines() if "error" in line]
        assert f"everything that was acknowledged is in {copy}: mv it to" in line
        os.rename(copy, tmp_path / "plangate.db")
        await server.restart()
        async with client(server) as store:
            assert await ids_in(store) == acknowledged
            assert (await store.events.verify()).valid


@pytest.mark.asyncio
async def test_a_backup_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    async with store_process(tmp_path) as server, client(server) as store:
        for _ in range(60):
            await store.proposals.create(proposal(size=30_000))
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        with pytest.raises(BackupRefused, match="full"):
            back_up(f"sqlite:///{tmp_path}/plangate.db", disk / "copy.db")
        assert list(disk.iterdir()) == []
