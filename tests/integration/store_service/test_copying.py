"""A stopped store's database, copied to another one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from store_service import administration
from store_service.database.database import open_database
from store_service.database.maintenance import copying
from store_service.database.maintenance.copying import CopyRefused
from store_service.database.orm import Base
from store_service.domain.errors import DatabaseInUse, StartRefused
from tests.support.polling import eventually
from tests.support.served_store import job, planned, running_store

ROOT = Path(__file__).parents[3]
REQUEST = rpc.CreatePlanRequest(
    request_id="6f1c0f8e-3a55-4ab6-9f0a-6f2a1a3b8c11",
    plan=planned(
        job("a", action_args={"path": "/tmp/ä"}),
        job("b", "REQUIRE_APPROVAL"),
        job("c", depends_on=["a", "b"]),
        labels={"sign": "☂"},
    ),
)


def store(*arguments: str, url: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "store_service", *arguments],
        env={**clean, "PLANGATE_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def copied(source: str, target: str) -> tuple[int, str, str]:
    with store("copy", "--to", target, url=source) as process:
        output, error = process.communicate(timeout=60)
        return process.returncode, output, error


async def filled(url: str) -> str:
    """A plan of which one step is done, one waits for approval and one for the others; returns the second's id."""
    async with running_store(url) as served:
        stored = await served.planner.plans.CreatePlan(REQUEST)
        [claimed] = await served.worker.claim()
        await served.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=claimed.id, attempt=1))
    await changed(url, "INSERT INTO governance VALUES ('another-planner', 'digest')")
    return str(stored.jobs[1].proposal_id)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    parsed = make_url(url)
    driver = "sqlite+aiosqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+asyncpg"
    engine = create_async_engine(parsed.set(drivername=driver))
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def changed(url: str, *statements: str) -> None:
    async with connected(url) as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, by the table's name, without seals: each database has a key of its own."""
    async with connected(url) as connection:
        found = {}
        for table in Base.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != "seal"]
            found[table.name] = sorted(map(tuple, await connection.execute(select(*columns))), key=repr)
        return found


def nothing_but_a_head(found: dict[str, list[tuple[Any, ...]]]) -> bool:
    return [name for name, there in found.items() if there] == ["log_head"] and found["log_head"][0][:2] == (1, 0)


def test_from_sqlite_to_postgresql_and_back_work_goes_on(
    sqlite_url: str, empty_postgres_url: str, tmp_path: Path
) -> None:
    waiting = asyncio.run(filled(sqlite_url))
    before = asyncio.run(rows(sqlite_url))
    assert all(before.values()), "every table has rows"
    returned = f"sqlite:///{tmp_path}/returned.db"
    head = asyncio.run(administration.check(sqlite_url)).head_revision
    for source, target in ((sqlite_url, empty_postgres_url), (empty_postgres_url, returned)):
        status, output, error = copied(source, target)
        assert (status, error) == (0, "")
        assert output.startswith(f"copied {head} events up to revision {head} and 4 plans and proposals; ")
        assert output.count("\n") == 1
        assert asyncio.run(rows(target)) == before

    async def approve_and_run(url: str) -> None:
        async with running_store(url) as served:
            # A request made before the copy is still known.
            assert (await served.planner.plans.CreatePlan(REQUEST)).jobs[1].proposal_id == waiting
            await served.alice.approve(await served.alice.get(waiting))
            for job_id in ("b", "c"):
                [claimed] = await served.worker.claim()
                assert claimed.job_id == job_id
                done = await served.worker.proposals.CompleteProposal(
                    rpc.CompleteProposalRequest(id=claimed.id, attempt=1)
                )
                assert done.state == proposal_pb2.PROPOSAL_STATE_EXECUTED

    for url in (empty_postgres_url, returned):
        asyncio.run(approve_and_run(url))
        health = asyncio.run(administration.check(url))
        assert health.problems == ()
        assert health.head_revision > head
    assert asyncio.run(rows(sqlite_url)) == before


def test_more_rows_than_are_read_at_once(sqlite_url: str, postgres_url: str) -> None:
    async def fill() -> None:
        async with running_store(sqlite_url) as served:
            for first in range(0, 450, 50):
                await asyncio.gather(*(served.planner.propose(priority=first + more) for more in range(50)))

    asyncio.run(fill())
    copied_so_far: list[tuple[str, int]] = []
    health = asyncio.run(
        administration.copy(sqlite_url, postgres_url, progress=lambda *page: copied_so_far.append(page))
    )
    assert [rows for table, rows in copied_so_far if table == "events"] == [200, 400, 450]
    assert (health.events_checked, health.resources_checked) == (450, 450)
    assert asyncio.run(rows(postgres_url)) == asyncio.run(rows(sqlite_url))


def test_a_target_that_holds_anything_is_refused(sqlite_url: str, database_url: str, tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/source.db"
    for url in {source, database_url}:
        asyncio.run(filled(url))
    before = asyncio.run(rows(database_url))
    status, output, error = copied(source, database_url)
    assert (status, output) == (1, "")
    assert error.startswith("plangate-store: the target is not empty: its table ")
    assert error.count("\n") == 1
    assert asyncio.run(rows(database_url)) == before


def test_a_store_that_runs_is_not_copied(database_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"

    async def copy_while_serving() -> None:
        async with running_store(database_url):
            refusal, said = (
                (DatabaseInUse, "another store process serves")
                if database_url.startswith("sqlite")
                else (CopyRefused, "other sessions use the source: stop its stores")
            )
            with pytest.raises(refusal, match=said):
                await administration.copy(database_url, target)

    asyncio.run(copy_while_serving())
    assert (
        nothing_but_a_head(asyncio.run(rows(target))) if database_url.startswith("p") else not any(tmp_path.iterdir())
    )


@pytest.mark.asyncio
async def test_no_store_starts_on_a_database_that_is_being_copied(postgres_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    async with copying.copied(postgres_url, target, None, None):
        for url, refused in ((postgres_url, "is being copied"), (target, "another store process serves")):
            with pytest.raises(StartRefused, match=refused):
                await open_database(url)
    # It was finished: the locks are gone.
    for url in (postgres_url, target):
        await (await open_database(url)).close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE proposals SET state = 'NONSENSE' WHERE job_id = 'c'", "a row of the source's table proposals cannot"),
        ("UPDATE proposals SET description = CAST(x'ff' AS TEXT)", "a row of the source's table proposals cannot"),
        ("UPDATE proposals SET attempt = 'x' WHERE job_id = 'c'", "the target does not take a row of the table prop"),
        ("UPDATE proposals SET priority = 7", "nothing was copied, as the copy would not be sound: "),
        ("UPDATE events SET actor = 'mallory' WHERE revision = 2", "nothing was copied, as the copy would not be sou"),
        ("UPDATE log_head SET hash = x'00'", "the head row of the log cannot be read: it was changed"),
        ("DELETE FROM log_head", "the log has no head row"),
        ("UPDATE alembic_version SET version_num = '0001'", "the source's schema is 0001, this version knows "),
    ],
)
def test_a_damaged_source_leaves_nothing_in_the_target(
    statement: str, said: str, sqlite_url: str, postgres_url: str
) -> None:
    asyncio.run(filled(sqlite_url))
    asyncio.run(changed(sqlite_url, statement))
    with pytest.raises(CopyRefused) as refused:
        asyncio.run(administration.copy(sqlite_url, postgres_url))
    assert str(refused.value).startswith(said)
    assert nothing_but_a_head(asyncio.run(rows(postgres_url)))


def test_there_has_to_be_a_source(tmp_path: Path) -> None:
    absent = f"sqlite:///{tmp_path}/absent.db"
    with pytest.raises(StartRefused, match="there is no database"):
        asyncio.run(administration.copy(absent, f"sqlite:///{tmp_path}/target.db"))
    assert not any(tmp_path.iterdir())


def test_a_copy_that_is_killed_leaves_nothing_and_can_be_repeated(sqlite_url: str, postgres_url: str) -> None:
    asyncio.run(filled(sqlite_url))
    # The copy stands still in its last rows.
    wait = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'"
    trigger = "CREATE TRIGGER wait BEFORE INSERT ON proposals FOR EACH ROW EXECUTE FUNCTION wait()"
    asyncio.run(changed(postgres_url, wait, trigger))

    async def sleepers(ask: str) -> list[Any]:
        url = make_url(postgres_url)
        connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database="postgres")
        try:
            return list(
                await connection.fetch(
                    f"SELECT {ask} FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'", url.database
                )
            )
        finally:
            await connection.close()

    async def kill_in_the_middle() -> None:
        with store("copy", "--to", postgres_url, url=sqlite_url) as process:
            await eventually(lambda: sleepers("pid"), timeout_seconds=30)
            process.kill()
        # The server notices a client's end when it writes to it next.
        await sleepers("pg_terminate_backend(pid)")

    asyncio.run(kill_in_the_middle())
    asyncio.run(changed(postgres_url, "DROP FUNCTION wait CASCADE"))
    assert nothing_but_a_head(asyncio.run(rows(postgres_url)))
    assert copied(sqlite_url, postgres_url)[0] == 0
    assert asyncio.run(rows(postgres_url)) == asyncio.run(rows(sqlite_url))
