"""The writer when something breaks at the worst moment: everything acknowledged is there, nothing else is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from store_service import administration
from store_service.commands import ApproveProposal, CreateProposal
from store_service.database.failures import Conflict, ConnectionLost, Unwritable
from store_service.domain.errors import CommitUnknown, DatabaseUnavailable
from store_service.domain.proposal import ProposalDraft
from store_service.engine.failpoints import FailPoint
from store_service.engine.writer import DatabaseState, WriterOptions
from tests.support.databases import PostgresServer
from tests.support.polling import until
from tests.support.proposals import ALICE, BOB
from tests.support.serverless_store import Gate, failing_once, opened, outcomes, request

CREATE = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), submit=True)
FAST = WriterOptions(reconnect_pauses=(0.0, 0.01))


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ConnectionLost("gone"), Conflict("somebody else"), ZeroDivisionError("ours")])
async def test_what_broke_before_the_commit_is_repeated(database_url: str, error: Exception) -> None:
    async with opened(database_url, fail_points=failing_once(FailPoint.BEFORE_COMMIT, error), options=FAST) as store:
        answers = await asyncio.gather(*(store.writer.execute(CREATE) for _ in range(3)))
        assert sorted(answer.revisions[0] for answer in answers) == [1, 2, 3]
        assert len(await store.events()) == 3


@pytest.mark.asyncio
async def test_what_cannot_be_written_is_not_stored(database_url: str) -> None:
    full = failing_once(FailPoint.BEFORE_COMMIT, Unwritable("disk full"))
    async with opened(database_url, fail_points=full, options=FAST) as store:
        results = await outcomes(*(store.writer.execute(CREATE) for _ in range(3)))
        assert [type(result) for result in results] == [DatabaseUnavailable] * 3
        assert await store.events() == []
        assert (await store.writer.execute(CREATE)).revisions == (1,)


@pytest.mark.asyncio
async def test_gives_up_on_a_database_that_stays_away(sqlite_url: str) -> None:
    async def gone() -> None:
        raise ConnectionLost("gone")

    points = {FailPoint.BEFORE_COMMIT: gone}
    async with opened(sqlite_url, fail_points=points, options=FAST) as store:
        with pytest.raises(DatabaseUnavailable):
            await store.writer.execute(CREATE)
        assert await store.events() == []


@pytest.mark.asyncio
async def test_an_endless_conflict_ends(sqlite_url: str) -> None:
    async def disturbed() -> None:
        raise Conflict("somebody else, again")

    points = {FailPoint.BEFORE_COMMIT: disturbed}
    async with opened(sqlite_url, fail_points=points, options=FAST) as store:
        with pytest.raises(DatabaseUnavailable):
            await store.writer.execute(CREATE)


@pytest.mark.asyncio
async def test_an_answer_lost_after_the_commit_is_found_by_repeating(database_url: str) -> None:
    key = request("create")
    command = CreateProposal(actor=ALICE, draft=ProposalDraft(action_name="act"), request=key)
    lost = failing_once(FailPoint.AFTER_COMMIT, OSError("the cable"))
    async with opened(database_url, fail_points=lost, options=FAST) as store:
        with pytest.raises(CommitUnknown):
            await store.writer.execute(command)
        again = await store.writer.execute(command)
        assert (again.revisions, again.replayed) == ((1,), True)
        assert len(await store.events()) == 1


@pytest.mark.asyncio
async def test_a_row_changed_behind_the_stores_back_is_noticed(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        proposals = [await store.created() for _ in range(3)]
        # Somebody with a SQLite shell, while the server runs and remembers the row.
        engine = create_async_engine(sqlite_url.replace("sqlite:", "sqlite+aiosqlite:"))
        async with engine.begin() as connection:
            statement = text("UPDATE proposals SET version = 7 WHERE id = :id")
            await connection.execute(statement, {"id": proposals[1].id})
        await engine.dispose()
        results = await outcomes(
            *(store.one(ApproveProposal(actor=BOB, proposal_id=each.id, expected_version=1)) for each in proposals)
        )
        assert [getattr(result, "version", None) for result in results] == [2, None, 2]
        assert "it is 7 by now" in str(results[1])


@pytest.mark.asyncio
async def test_a_connection_that_postgres_cuts_is_replaced(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with opened(postgres_url, options=FAST) as store:
        await store.writer.execute(CREATE)
        await _cut_connections(postgres_url)
        assert (await store.writer.execute(CREATE)).revisions == (2,)
        assert len(await store.events()) == 2


@pytest.mark.asyncio
async def test_a_connection_cut_at_the_commit_is_resolved(postgres_url: str) -> None:
    gate = Gate()
    async with opened(postgres_url, fail_points=gate.fail_points, options=FAST) as store:
        calls = [asyncio.create_task(store.writer.execute(CREATE)) for _ in range(2)]
        await gate.reached.wait()
        # The server forgets the transaction; the writer, whose COMMIT finds nobody, cannot know that.
        await _cut_connections(postgres_url)
        gate.open()
        answers = await asyncio.gather(*calls)
        assert sorted(answer.revisions[0] for answer in answers) == [1, 2]
        assert len(await store.events()) == 2


@pytest.mark.asyncio
async def test_survives_a_restart_of_postgres(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with opened(postgres_url, options=WriterOptions(reconnect_pauses=(0.0, 0.05))) as store:
        await store.writer.execute(CREATE)
        await asyncio.to_thread(postgres_server.stop, immediately=True)
        try:
            with pytest.raises((DatabaseUnavailable, CommitUnknown)):
                await store.writer.execute(CREATE)
        finally:
            await asyncio.to_thread(postgres_server.start)
        assert (await store.writer.execute(CREATE)).revisions == (2,)
        assert len(await store.events()) == 2


async def _cut_connections(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await engine.dispose()


@pytest.mark.asyncio
async def test_a_head_that_somebody_holds_is_waited_for_and_then_given_up(postgres_url: str) -> None:
    async with opened(postgres_url, options=FAST) as store:
        await store.writer.execute(CREATE)
        engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.begin() as connection:
            await connection.execute(text("SELECT * FROM log_head FOR UPDATE"))
            calls = [asyncio.create_task(store.writer.execute(CREATE)) for _ in range(2)]
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            async with asyncio.timeout(10):
                while not await connection.scalar(waiting):  # noqa: ASYNC110 - only the server knows
                    await asyncio.sleep(0.01)
            # The same as when the time for the lock is over, at once.
            await connection.execute(
                text("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            )
            assert isinstance((await outcomes(*calls))[0], DatabaseUnavailable)
        await engine.dispose()
        assert await store.writer.execute(CREATE)


@pytest.mark.asyncio
async def test_a_file_that_another_process_locks_is_waited_for(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        path = sqlite_url.removeprefix("sqlite:///")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        calls = [asyncio.create_task(store.writer.execute(CREATE)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in calls)
        other.execute("ROLLBACK")
        other.close()
        assert len(await asyncio.gather(*calls)) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("harm", ["removed", "moved", "replaced", "its directory removed"])
async def test_a_file_that_is_gone_is_copied_and_takes_no_more_writes(harm: str, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    path = directory / "plangate.db"
    async with opened(f"sqlite:///{path}") as store:
        states: list[tuple[DatabaseState, str]] = []
        store.writer.on_state(lambda state, problem: states.append((state, problem)))
        for _ in range(3):
            await store.writer.execute(CREATE)
        if harm == "its directory removed":
            shutil.rmtree(directory)
        elif harm == "moved":
            path.rename(tmp_path / "elsewhere.db")
        else:
            path.unlink()
        if harm == "replaced":
            path.touch()
        calls = [store.writer.execute(CREATE) for _ in range(3)]
        assert [type(outcome) for outcome in await outcomes(*calls)] == [DatabaseUnavailable] * 3
        with pytest.raises(DatabaseUnavailable):
            await store.writer.execute(CREATE)
    [(state, problem)] = states
    assert state is DatabaseState.FILE_GONE
    copy = Path(problem.partition("everything that was acknowledged is in ")[2].partition(": mv it")[0])
    assert copy.parent == (directory if directory.exists() else Path(tempfile.gettempdir()))
    try:
        health = await administration.check(f"sqlite:///{copy}")
        assert (health.problems, health.events_checked) == ((), 3)
    finally:
        os.unlink(copy)


@pytest.mark.asyncio
async def test_a_store_without_writes_notices_that_its_file_is_gone(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        states: list[DatabaseState] = []
        store.writer.on_state(lambda state, _problem: states.append(state))
        store.writer.look_at_file()
        await store.writer.execute(CREATE)
        assert states == []
        os.unlink(sqlite_url.removeprefix("sqlite:///"))
        store.writer.look_at_file()
        await until(lambda: states == [DatabaseState.FILE_GONE])


@pytest.mark.asyncio
async def test_a_database_that_takes_no_writes_is_announced_and_so_is_its_return(database_url: str) -> None:
    full = failing_once(FailPoint.BEFORE_COMMIT, Unwritable("disk full"))
    async with opened(database_url, fail_points=full, options=FAST) as store:
        states: list[tuple[DatabaseState, str]] = []
        store.writer.on_state(lambda state, problem: states.append((state, problem)))
        with pytest.raises(DatabaseUnavailable):
            await store.writer.execute(CREATE)
        await store.writer.execute(CREATE)
        await store.writer.execute(CREATE)
    assert states == [(DatabaseState.UNWRITABLE, "disk full"), (DatabaseState.WRITABLE, "")]
