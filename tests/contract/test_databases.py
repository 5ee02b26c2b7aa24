"""Opening databases: what is verified, what is refused and how it is said, and schemas brought up to date."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, delete, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm.exc import StaleDataError

from plangate_client.calls import new_request_id
from store_service.commands import ClaimProposals, CreateProposal, RequestKey, UpdateProposal
from store_service.database.database import DatabaseOptions, open_database
from store_service.database.maintenance.offline import open_for_reading
from store_service.database.migrate import migrate
from store_service.database.models import EventModel, ProposalModel
from store_service.database.reader import Reader
from store_service.domain.actor import Actor
from store_service.domain.errors import (
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnavailable,
    RequestIdReused,
    SchemaTooNew,
    StartRefused,
    WalImpossible,
)
from store_service.domain.proposal import ProposalDraft
from store_service.filters import parse
from store_service.queries import EVENT_FIELDS, PageQuery, event_order
from tests.support.damage import mounted_twice
from tests.support.databases import PostgresServer
from tests.support.proposals import ALICE, WORKER
from tests.support.serverless_store import Gate, opened


def _path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.mark.asyncio
async def test_sqlite_is_durable_and_readers_cannot_write(sqlite_url: str) -> None:
    database = await open_database(sqlite_url)
    try:
        async with database.reading.read() as session:
            assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
            assert await session.scalar(text("PRAGMA query_only")) == 1
            with pytest.raises(DBAPIError, match="readonly"):
                await session.execute(delete(EventModel))
        async with database._writer.connect() as connection:
            assert await connection.scalar(text("PRAGMA synchronous")) == 2
            assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    finally:
        await database.close()


@pytest.mark.asyncio
async def test_reads_do_not_wait_for_a_write_and_see_nothing_of_it(store_url: str) -> None:
    gate = Gate()
    async with opened(store_url, fail_points=gate.fail_points) as store:
        writing = asyncio.create_task(store.created())
        await gate.reached.wait()
        async with store.database.reading.read() as session:
            count = select(func.count()).select_from(EventModel)
            assert await session.scalar(count) == 0
            gate.open()
            await writing
            # Each statement sees one moment.
            assert await session.scalar(count) == 1


@pytest.fixture
def store_url(database_url: str) -> str:
    return database_url


@pytest.mark.asyncio
async def test_one_process_per_file(sqlite_url: str, tmp_path: Path) -> None:
    database = await open_database(sqlite_url)
    # Another process, as locks of one process do not exclude each other everywhere.
    program = (
        "import asyncio, sys\n"
        "from store_service.database.database import open_database\n"
        "from store_service.domain.errors import DatabaseInUse\n"
        "try: asyncio.run(open_database(sys.argv[1]))\n"
        "except DatabaseInUse as error: print(error); sys.exit(7)\n"
    )
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, sqlite_url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await second.communicate()
    assert second.returncode == 7
    assert b"another store process serves" in said
    with pytest.raises(DatabaseInUse):
        await open_database(sqlite_url)
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
    with pytest.raises(DatabaseInUse):
        await open_database(f"sqlite:///{link}")
    await database.close()
    await (await open_database(sqlite_url)).close()


@pytest.mark.asyncio
async def test_refuses_a_file_of_two_names(sqlite_url: str, tmp_path: Path) -> None:
    path, other = _path(sqlite_url), _path(sqlite_url).with_name("other.db")
    symbolic = tmp_path / "symbolic.db"
    symbolic.symlink_to(path)
    database = await open_database(sqlite_url)
    other.hardlink_to(path)
    with pytest.raises(StartRefused, match="one of 2 hard links to one file"):
        await open_database(f"sqlite:///{other}")
    await database.close()
    for url in (sqlite_url, f"sqlite:///{symbolic}"):
        with pytest.raises(StartRefused, match=f"find DIRECTORY -samefile {url.removeprefix('sqlite:///')} "):
            await open_database(url)
    other.unlink()
    # Its lock was given back each time.
    for url in (sqlite_url, f"sqlite:///{symbolic}"):
        await (await open_database(url)).close()


@pytest.mark.asyncio
async def test_refuses_a_file_that_is_no_database(sqlite_url: str) -> None:
    _path(sqlite_url).write_bytes(b"This is a letter, and not a short one. " * 100)
    with pytest.raises(DatabaseDamaged, match="restore a backup"):
        await open_database(sqlite_url)


@pytest.mark.asyncio
async def test_refuses_a_torn_file(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        for _ in range(20):
            await store.created(description="x" * 1000)
    path = _path(sqlite_url)
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(4096 * 3))
    with pytest.raises(DatabaseDamaged):
        await open_database(sqlite_url)


@pytest.mark.asyncio
async def test_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DatabaseReadOnly):
        await open_database("sqlite:////proc/plangate/plangate.db")
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseReadOnly):
        await open_database(f"sqlite:///{tmp_path}/file/plangate.db")
    (tmp_path / "directory").mkdir()
    with pytest.raises(DatabaseReadOnly):
        await open_database(f"sqlite:///{tmp_path}/directory")


@pytest.mark.asyncio
async def test_refuses_a_file_without_wal(sqlite_url: str) -> None:
    # A process that reads the file in another journal mode keeps it from being changed: so does a network file system.
    await (await open_database(sqlite_url)).close()
    engine = create_async_engine(sqlite_url.replace("sqlite:", "sqlite+aiosqlite:"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode = DELETE")) == "delete"
        await connection.execute(text("BEGIN"))
        await connection.execute(text("SELECT * FROM log_head"))
        with pytest.raises((WalImpossible, DatabaseInUse)):
            await open_database(sqlite_url, DatabaseOptions(busy_seconds=0.05))
        await connection.execute(text("COMMIT"))
    await engine.dispose()
    await (await open_database(sqlite_url)).close()


@pytest.mark.asyncio
async def test_refuses_urls_it_does_not_know(tmp_path: Path) -> None:
    at = f"sqlite:///{tmp_path}"
    for url, said in (
        ("sqlite://", "needs a SQLite file"),
        ("sqlite:///:memory:", "needs a SQLite file"),
        (f"sqlite://host/{tmp_path}/a.db", "needs a SQLite file"),
        (f"{at}/a.db?timeout=abc", "an option 'timeout'; there are none for SQLite"),
        (f"{at}/a.db?foo=bar", "an option 'foo'"),
        # Another file than the one that would be locked.
        (f"{at}/a.db?mode=ro&uri=true", "an option 'mode'"),
        (f"sqlite:///file:{tmp_path}/a.db?mode=memory&uri=true", "an option 'mode'"),
        ("postgresql://127.0.0.1:1/x?prepared_statement_cache_size=x", "'prepared_statement_cache_size' is not a num"),
        ("postgresql:///x?host=127.0.0.1&port=x", "'port' is not a number"),
        ("mysql://localhost/x", "not a database the store knows"),
        ("nonsense", "cannot be read"),
    ):
        with pytest.raises(StartRefused, match=said):
            await open_database(url)
        with pytest.raises(StartRefused):
            async with open_for_reading(url):
                pass
    assert os.listdir(tmp_path) == []
    with pytest.raises(DatabaseUnavailable):
        await open_database("postgresql://postgres@127.0.0.1:1/x")


@pytest.mark.asyncio
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_refuses_a_postgresql_database_that_cannot_hold_all_texts(
    postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"test_{encoding.lower()}"
    await postgres_server.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StartRefused, match=encoding):
            await open_database(postgres_server.url(name))
    finally:
        await postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.asyncio
async def test_reads_beyond_the_pool_fail_with_a_name(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, DatabaseOptions(read_connections=1, pool_seconds=0.01))
    async with database.reading.read() as session:
        assert await session.scalar(select(1)) == 1
        with pytest.raises(DatabaseUnavailable) as refused:
            async with database.reading.read() as another:
                await another.scalar(select(1))
        assert "were busy" in refused.value.problem
    await database.close()


@pytest.mark.asyncio
async def test_the_orm_guards_versions_too(store_url: str) -> None:
    async with opened(store_url) as store:
        made = await store.created()
    engine = create_async_engine(_driver(store_url))
    async with AsyncSession(engine, expire_on_commit=False) as one, AsyncSession(engine, expire_on_commit=False) as two:
        [first] = await one.scalars(select(ProposalModel).where(ProposalModel.id == made.id))
        [second] = await two.scalars(select(ProposalModel).where(ProposalModel.id == made.id))
        # Ends the transaction without forgetting what was read.
        await two.commit()
        first.description = "one"
        await one.commit()
        assert first.version == 2
        second.description = "two"
        with pytest.raises(StaleDataError):
            await two.commit()
    await engine.dispose()


@pytest.mark.asyncio
async def test_the_migrations_make_what_the_models_say(store_url: str) -> None:
    await (await open_database(store_url)).close()

    def differences(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = [str(difference) for difference in compare_metadata(context, ProposalModel.metadata)]
        # Descending columns come back as plain ones: indexes are compared by name.
        return [difference for difference in found if "_index" not in difference]

    def indexes(connection: Connection) -> set[str | None]:
        return {
            index["name"] for table in ProposalModel.metadata.tables for index in inspect(connection).get_indexes(table)
        }

    assert await _run(store_url, differences) == []
    expected = {index.name for table in ProposalModel.metadata.tables.values() for index in table.indexes}
    assert await _run(store_url, indexes) == expected


@pytest.mark.asyncio
async def test_refuses_a_schema_that_is_newer(store_url: str) -> None:
    await (await open_database(store_url)).close()
    await _run(
        store_url, lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    )
    with pytest.raises(SchemaTooNew, match="9999") as refused:
        await open_database(store_url)
    assert refused.value.found_revision == "9999"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without tables."""
    url: str = request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url")
    return url


@pytest.mark.asyncio
async def test_an_old_database_with_data_is_upgraded(empty_url: str) -> None:
    await _run(empty_url, lambda connection: migrate(connection, "0001"))
    rows = [
        ("p-done", "EXECUTED", []),
        ("p-free", "APPROVED", ["p-done"]),
        ("p-waits", "APPROVED", ["p-done", "p-free"]),
        ("p-alone", "PENDING", []),
    ]

    def fill(connection: Connection) -> None:
        for proposal_id, state, needed in rows:
            connection.execute(
                text(
                    "INSERT INTO proposals (id, version, plan_id, job_id, action_name, args_json, args_digest, "
                    "description, evidence, priority, labels, state, required_approvals, reviewer_role, approvals, "
                    "depends_on, cancel_requested, attempt, max_attempts, created_by, updated_by, create_time, "
                    "update_time) VALUES (:id, 1, '', '', 'act', '{}', '', '', '', 0, '{}', :state, 1, '', '[]', "
                    ":needed, :no, 0, 1, 'alice', 'alice', 1, 1)"
                ),
                {"id": proposal_id, "state": state, "needed": json.dumps(needed), "no": False},
            )

    request_id = new_request_id()

    def log(connection: Connection) -> None:
        for revision, answer in ((1, 1), (2, None)):
            connection.execute(
                text(
                    "INSERT INTO events (revision, entity_type, entity_id, version, kind, actor, authenticated, via, "
                    "time, request_id, comment, snapshot, prev_hash, hash, plan_id, method, fingerprint, answer) "
                    "VALUES (:revision, 2, 'p-old', :revision, 'proposal.created', 'alice', :no, '', 1, :request_id, "
                    "'', :bytes, :bytes, :bytes, '', 'CreateProposal', :bytes, :answer)"
                ),
                {"revision": revision, "answer": answer, "no": False, "bytes": b"x", "request_id": request_id},
            )

        connection.execute(text("UPDATE log_head SET revision = 2, hash = :bytes"), {"bytes": b"x" * 32})

    await _run(empty_url, fill)
    await _run(empty_url, log)
    async with opened(empty_url) as store:
        of_the_request = PageQuery(parse(f"request_id = {request_id}", EVENT_FIELDS), event_order(""), 10, None)
        found, _ = await Reader(store.database.reading).list_events(of_the_request)
        assert [event.revision for event in found] == [1, 2]
        repeated = CreateProposal(
            actor=ALICE, draft=ProposalDraft(action_name="act"), request=RequestKey(request_id, b"other content")
        )
        with pytest.raises(RequestIdReused):
            await store.told(repeated)
        assert {row.returned_attempts for row in (await store.rows()).values()} == {0}
        assert {row.id: row.waiting_for for row in (await store.rows()).values()} == {
            "p-done": 0,
            "p-free": 0,
            "p-waits": 1,
            "p-alone": 0,
        }
        # They were put there by hand: the log does not know them, so nobody may have agreed to them.
        assert await store.told(ClaimProposals(actor=WORKER, max_proposals=10)) == []


@pytest.mark.asyncio
async def test_who_edited_a_proposal_is_taken_from_the_log(empty_url: str) -> None:
    async with opened(empty_url) as store:
        made = await store.created()
        draft, fields = ProposalDraft(action_name="act", description="new"), frozenset({"description"})
        for version, actor in enumerate(("bob", "carol", "bob"), 1):
            admin = Actor(actor, frozenset({"admin"}))
            edit = UpdateProposal(
                actor=admin, proposal_id=made.id, expected_version=version, draft=draft, fields=fields
            )
            await store.writer.execute(edit)
        untouched = await store.created()
    await _run(empty_url, lambda connection: _downgrade(connection, "0003"))
    async with opened(empty_url) as store:
        rows = await store.rows()
    assert (rows[made.id].earlier_revisers, rows[made.id].revised_by) == (("carol",), "bob")
    assert (rows[untouched.id].earlier_revisers, rows[untouched.id].revised_by) == ((), "")


@pytest.mark.asyncio
async def test_one_file_mounted_twice_is_served_once(sqlite_url: str, tmp_path: Path) -> None:
    database = await open_database(sqlite_url)
    try:
        with mounted_twice(_path(sqlite_url), tmp_path / "other.db") as other, pytest.raises(DatabaseInUse):
            await open_database(f"sqlite:///{other}")
    finally:
        await database.close()


def _downgrade(connection: Connection, target: str) -> None:
    config = Config()
    config.set_main_option("script_location", "store_service.database:migrations")
    config.attributes["connection"] = connection
    command.downgrade(config, target)


async def _run(url: str, work: Callable[[Connection], object]) -> object:
    engine = create_async_engine(_driver(url))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _driver(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
