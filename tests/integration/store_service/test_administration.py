"""The store's subcommands, and the page of code that verifies what one of them exports."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plangate.store.v1 import store_service_pb2 as rpc
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from plangate_core.rpc.status import from_rpc_error
from store_service import administration
from store_service.database.sqlite.backup import BackupRefused, back_up
from store_service.domain.errors import DatabaseUnavailable
from store_service.domain.events import EventUnreadable
from tests.support import refused_system_calls
from tests.support.databases import PostgresServer
from tests.support.served_store import job, planned, running_store

ROOT = Path(__file__).parents[3]
VERIFY = ROOT / "docs" / "verify_log.py"


def run(
    *arguments: str, url: str, stdout: int = subprocess.PIPE, launcher: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    return subprocess.run(
        [*launcher, sys.executable, "-m", "store_service", *arguments],
        env={**clean, **environment, "PLANGATE_DATABASE_URL": url},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


def verify(log: Path, *more: Path) -> tuple[int, str]:
    # -I -S: nothing but the standard library can be imported.
    done = subprocess.run([sys.executable, "-I", "-S", VERIFY, log, *more], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


async def filled(url: str, **settings: Any) -> dict[str, Any]:
    """A database with a plan, an approval and an execution in it; returns a checkpoint as grpcurl would print it."""
    async with running_store(url, **settings) as store:
        plan = planned(
            job("a", action_args={"path": "/tmp/ä"}), job("b", "REQUIRE_APPROVAL"), labels={"a": "b", "c": "d"}
        )
        stored = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))
        await store.alice.approve(await store.alice.get(stored.jobs[1].proposal_id), comment="naïve ☂")
        for proposal in await store.worker.claim(max_proposals=2):
            await store.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=proposal.id, attempt=1))
        if not settings:
            return {}
        checkpoint = await store.alice.events.GetCheckpoint(rpc.GetCheckpointRequest())
        return {"revision": str(checkpoint.revision), "hash": base64.b64encode(checkpoint.hash).decode()}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def exported(url: str) -> str:
    output = io.StringIO()
    asyncio.run(administration.export(url, output))
    return output.getvalue()


def test_check_and_export_a_sound_log_on_every_database(database_url: str, tmp_path: Path, key_file: Path) -> None:
    checkpoint = asyncio.run(filled(database_url, checkpoint_key_file=key_file))
    health = asyncio.run(administration.check(database_url))
    assert health.problems == ()
    assert (health.head_revision, health.events_checked, health.resources_checked) == (8, 8, 3)
    log, kept = tmp_path / "log.jsonl", tmp_path / "checkpoint.json"
    log.write_text(exported(database_url), encoding="utf-8")
    kept.write_text(json.dumps(checkpoint), encoding="utf-8")
    assert verify(log)[0] == 0
    assert verify(log, kept)[0] == 0


def _drop(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return events[:2] + events[3:]


def _swap(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [events[1], events[0], *events[2:]]


def _edit(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*events[:4], {**events[4], "actor": "mallory"}, *events[5:]]


def _edit_snapshot(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changed = base64.b64encode(base64.b64decode(events[0]["snapshot"]) + b"\x10\x01").decode()
    return [{**events[0], "snapshot": changed}, *events[1:]]


def _cut_off(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return events[:-1]


@pytest.mark.parametrize(
    ("tamper", "needs_checkpoint", "sentence"),
    [
        (_drop, False, "revision 3 is missing"),
        (_swap, False, "revision 1 is missing"),
        (_edit, False, "revision 5 was changed"),
        (_edit_snapshot, False, "revision 1 was changed"),
        (_cut_off, True, "the log ends at revision 7, before the checkpoint's 8"),
    ],
)
def test_a_tampered_export_is_found(
    tamper: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    needs_checkpoint: bool,
    sentence: str,
    sqlite_url: str,
    tmp_path: Path,
    key_file: Path,
) -> None:
    checkpoint = asyncio.run(filled(sqlite_url, checkpoint_key_file=key_file))
    log, kept = tmp_path / "log.jsonl", tmp_path / "checkpoint.json"
    events = [json.loads(line) for line in exported(sqlite_url).splitlines()]
    log.write_text("\n".join(map(json.dumps, tamper(events))), encoding="utf-8")
    kept.write_text(json.dumps(checkpoint), encoding="utf-8")
    if needs_checkpoint:
        assert verify(log)[0] == 0
    status, said = verify(log, *([kept] if needs_checkpoint else []))
    assert (status, said.strip()) == (1, sentence)


def test_a_checkpoint_of_the_time_before_the_first_event(tmp_path: Path) -> None:
    """Its revision is 0, which JSON leaves out."""
    log, kept = tmp_path / "log.jsonl", tmp_path / "checkpoint.json"
    log.touch()
    for checkpoint, status in (
        ({"hash": base64.b64encode(bytes(32)).decode()}, 0),
        ({"hash": base64.b64encode(b"1" * 32).decode()}, 1),
        ({"revision": "1", "hash": base64.b64encode(b"1" * 32).decode()}, 1),
        ({}, 2),
    ):
        kept.write_text(json.dumps(checkpoint))
        assert verify(log, kept)[0] == status, checkpoint


def test_what_is_not_a_log_is_said_to_be_none(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for content in ("nonsense\n", "[]\n", '{"revision": 1}\n'):
        log.write_text(content)
        assert verify(log)[0] == 2
    assert verify(tmp_path / "absent")[0] == 2


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE events SET actor = 'mallory' WHERE revision = 4", "the log at revision 4: its hash is not"),
        ("DELETE FROM events WHERE revision = 3", "the log at revision 3: it is missing"),
        (
            "UPDATE events SET entity_type = 9 WHERE revision = 4",
            "the log at revision 4: it has values that no event",
        ),
        (
            "UPDATE events SET snapshot = 'text' WHERE revision = 4",
            "the log at revision 4: it has values that no event",
        ),
        ("UPDATE log_head SET hash = zeroblob(32)", "the log at revision 8: the head row"),
        (
            "UPDATE log_head SET revision = 5, hash = (SELECT hash FROM events WHERE revision = 5)",
            "the log at revision 6: it is beyond what the head row says",
        ),
        ("DELETE FROM log_head", "the log at revision 1: it is beyond what the head row says"),
        ("DELETE FROM proposals WHERE job_id = 'a'", "version 3 is the log's last word of it, and no row says so"),
        ("UPDATE proposals SET approvals = 'nonsense'", "its row cannot be read"),
        ("UPDATE proposals SET state = 'APPROVED'", "its row is not what the log says"),
        ("UPDATE proposals SET version = 99", "the log does not know it"),
    ],
)
def test_check_finds_what_was_changed_behind_the_store(statement: str, problem: str, sqlite_url: str) -> None:
    asyncio.run(filled(sqlite_url))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute(statement)
    connection.close()
    health = asyncio.run(administration.check(sqlite_url))
    assert any(problem in found for found in health.problems)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE proposals SET waiting_for = 0 WHERE job_id = 'c'", "count of unfinished dependencies"),
        # Nobody would be told that what it waits for is done.
        ("DELETE FROM dependencies", "its row and the table of dependencies differ over "),
        ("UPDATE dependencies SET proposal_id = 'nobody'", "its row and the table of dependencies differ over "),
        ("INSERT INTO dependencies VALUES ('a', 'b')", "b: its row and the table of dependencies differ over a"),
        ("DROP TABLE dependencies", "the schema lacks the tables dependencies"),
        ("DROP INDEX ix_proposals_ready", "the schema lacks the indexes ix_proposals_ready"),
        ("INSERT INTO alembic_version VALUES ('0000')", "the schema is 0000 and "),
        ("DELETE FROM alembic_version", "the schema is none, this version knows "),
    ],
)
def test_check_finds_what_would_run_too_early_or_never(statement: str, problem: str, database_url: str) -> None:
    async def waiting() -> None:
        async with running_store(database_url) as store:
            plan = planned(job("a"), job("b"), job("c", depends_on=["a", "b"]))
            await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))
            [first] = await store.worker.claim()
            await store.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=first.id, attempt=1))
            # What is removed for good is in no table; the row of what waited for it goes on to name it.
            plan = planned(job("a"), job("b", depends_on=["a"]))
            gone = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))
            first_id = gone.jobs[0].proposal_id
            await store.planner.proposals.CancelProposal(rpc.CancelProposalRequest(id=first_id))
            await store.as_("admin").proposals.DeleteProposal(rpc.DeleteProposalRequest(id=first_id, purge=True))

    asyncio.run(waiting())
    assert asyncio.run(administration.check(database_url)).problems == ()
    asyncio.run(changed(database_url, statement))
    problems = asyncio.run(administration.check(database_url)).problems
    assert any(problem in found for found in problems), problems


async def changed(database_url: str, statement: str) -> None:
    """One statement behind the store's back."""
    url = make_url(database_url)
    driver = "sqlite+aiosqlite" if url.get_backend_name() == "sqlite" else "postgresql+asyncpg"
    engine = create_async_engine(url.set(drivername=driver))
    async with engine.begin() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()


_LOG_UNREADABLE = "the log at revision 5: it has values that no event can have"
_HEAD_UNREADABLE = "the head row of the log cannot be read"
_ROW_UNREADABLE = "its row cannot be read"
_UNREADABLE_EVENT = "revision 5 of the log cannot be read: its row was changed"


@pytest.mark.parametrize(
    ("statement", "problem", "others"),
    [
        # (what check says, what export and the server's ListEvents say of the same; none: they go on)
        ("UPDATE log_head SET hash = 'text'", _HEAD_UNREADABLE, ""),
        ("UPDATE log_head SET hash = x'00'", _HEAD_UNREADABLE, ""),
        ("UPDATE log_head SET revision = 'abc'", _HEAD_UNREADABLE, ""),
        ("UPDATE log_head SET revision = -1", _HEAD_UNREADABLE, ""),
        ("UPDATE events SET snapshot = 'text' WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET snapshot = x'ffff' WHERE revision = 5", "the log at revision 5: its hash is not", ""),
        ("UPDATE events SET snapshot = x'ffff'", _ROW_UNREADABLE, ""),
        ("UPDATE events SET hash = 'x' WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET hash = 5 WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET actor = x'ff' WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET time = 'abc' WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET entity_type = 9 WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET version = 'q' WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET version = -3 WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        ("UPDATE events SET authenticated = 7 WHERE revision = 5", _LOG_UNREADABLE, _UNREADABLE_EVENT),
        *(
            (f"UPDATE proposals SET {assignment}", _ROW_UNREADABLE, "")
            for assignment in (
                "args_json = 'x'",
                "args_json = x'ff'",
                "depends_on = '[1,null]'",
                "create_time = 'x'",
                "expire_time = 'x'",
                "attempt = 'x'",
                "priority = 'high'",
                f"labels = '{'[' * 100_000}'",
            )
        ),
        *(
            (f"UPDATE plans SET {assignment}", _ROW_UNREADABLE, "")
            for assignment in (
                "generation = 'text'",
                "generation = x'ff'",
                "context_json = '[]'",
                "labels = '{\"a\":1}'",
            )
        ),
    ],
)
def test_damaged_rows_are_named_and_break_nothing(statement: str, problem: str, others: str, sqlite_url: str) -> None:
    asyncio.run(filled(sqlite_url))
    asyncio.run(changed(sqlite_url, statement))
    problems = asyncio.run(administration.check(sqlite_url)).problems
    assert any(problem in found for found in problems), problems

    async def listed() -> str:
        async with running_store(sqlite_url) as store:
            try:
                await store.alice.events.ListEvents(rpc.ListEventsRequest())
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason
            return ""

    if problem is _HEAD_UNREADABLE:
        with pytest.raises(DatabaseUnavailable) as refused:
            asyncio.run(listed())
        assert refused.value.problem == "the head row of the log cannot be read: it was changed"
    else:
        assert asyncio.run(listed()) == ("DATABASE_UNAVAILABLE" if others else "")
    if others:
        with pytest.raises(EventUnreadable, match=others):
            exported(sqlite_url)
    else:
        assert exported(sqlite_url)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE log_head", "the database cannot be reached or written now: "),
        ("DELETE FROM log_head", "the database cannot be reached or written now: the log has no head row"),
        (
            "INSERT INTO alembic_version VALUES ('0000')",
            "the table alembic_version names 2 schemas, 0000 and ",
        ),
    ],
)
def test_a_database_that_cannot_be_served_is_refused_in_one_sentence(
    statement: str, said: str, database_url: str
) -> None:
    asyncio.run(administration.migrate(database_url))
    asyncio.run(changed(database_url, statement))
    done = run(url=database_url, PLANGATE_STORE_LISTEN="127.0.0.1:0", PLANGATE_LOG_LEVEL="error")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith(f"plangate-store: {said}")


def test_a_backup_of_a_database_in_use_is_whole(sqlite_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def write_for_ever(client: Any) -> None:
        while True:
            await client.propose()

    async def back_up_while_serving() -> None:
        async with running_store(sqlite_url) as store:
            writing = asyncio.create_task(write_for_ever(store.planner))
            while not (await store.planner.events.ListEvents(rpc.ListEventsRequest(page_size=1))).events:
                pass
            assert await asyncio.to_thread(back_up, sqlite_url, copy) == copy.stat().st_size
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(back_up_while_serving())
    health = asyncio.run(administration.check(f"sqlite:///{copy}"))
    assert health.problems == ()
    assert health.events_checked > 0
    with pytest.raises(BackupRefused, match="exists already"):
        back_up(sqlite_url, copy)
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("name", ["a b", "x#y", "p%25q", "it's", "\u00e9"])
def test_files_of_odd_names_are_found(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{name}.db"
    asyncio.run(filled(url))
    before = sorted(tmp_path.iterdir())
    assert asyncio.run(administration.check(url)).problems == ()
    assert len(exported(url).splitlines()) == 8
    assert back_up(url, tmp_path / f"{name}.copy") > 0
    assert {path.suffix for path in set(tmp_path.iterdir()) - set(before)} <= {".copy", ".db-wal", ".db-shm"}


def test_files_are_their_owners_alone_and_copies_no_less(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    database, copy, shared_copy = (tmp_path / name for name in ("new.db", "copy.db", "shared.db"))
    url = f"sqlite:///{database}"
    before = os.umask(0o022)
    try:
        asyncio.run(filled(url))
        back_up(url, copy)
        assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
        # So is one that a link names before it is there.
        link, linked = tmp_path / "link.db", tmp_path / "elsewhere" / "linked.db"
        link.symlink_to(linked)
        asyncio.run(filled(f"sqlite:///{link}"))
        assert {mode(path) for path in linked.parent.iterdir()} == {0o600}
        assert linked in linked.parent.iterdir()
        # Who opened it to others goes on so.
        database.chmod(0o640)
        asyncio.run(administration.migrate(url))
        back_up(url, shared_copy)
        assert (mode(database), mode(shared_copy)) == (0o640, 0o640)
    finally:
        os.umask(before)
    with pytest.raises(BackupRefused, match=r"nowhere/copy\.db cannot be written: No such file or directory"):
        back_up(url, tmp_path / "nowhere" / "copy.db")


def test_a_backup_needs_no_hard_links_and_no_modes(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(filled(sqlite_url))
    copy, taken, other, linked = (tmp_path / name for name in ("copy.db", "taken.db", "other.db", "linked.db"))
    # Nothing is there for who looks, yet the name is taken, as by somebody who came in between.
    taken.symlink_to("nowhere")
    for destination, without, status, said in (
        (copy, ["link", "chmod"], 0, ""),
        (copy, ["link", "chmod"], 1, f"{copy} exists already"),
        (linked, ["renameat2"], 0, ""),
        (taken, ["link"], 1, f"{taken} cannot be written: File exists"),
        (taken, ["renameat2"], 1, f"{taken} cannot be written: File exists"),
        (other, ["link", "renameat2"], 1, f"{other} cannot be written: its file system has neither hard links nor "),
    ):
        done = run("backup", str(destination), url=sqlite_url, launcher=refused_system_calls.without(*without))
        assert (done.returncode, done.stderr.count("\n")) == (status, 1 if said else 0), done.stderr
        assert said in done.stderr
    assert sorted(tmp_path.iterdir()) == [copy, linked, taken]
    assert taken.is_symlink()
    for made in (copy, linked):
        assert made.stat().st_nlink == 1
        assert asyncio.run(administration.check(f"sqlite:///{made}")).problems == ()


def test_names_that_are_too_long_are_said_to_be(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(administration.migrate(sqlite_url))
    long = tmp_path / ("a" * 300)
    for arguments, url, said in (
        (["backup", str(long)], sqlite_url, f"{long} cannot be written: File name too long"),
        (["backup", str(tmp_path / "copy.db")], f"sqlite:///{long}", f"{long} cannot be read: File name too long"),
        (["check"], f"sqlite:///{long}", f"{long} cannot be read: File name too long"),
        (["export"], f"sqlite:///{long}", f"{long} cannot be read: File name too long"),
    ):
        done = run(*arguments, url=url)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"plangate-store: {said}\n")


def test_the_subcommands_say_what_they_did_and_end_with_a_status(tmp_path: Path) -> None:
    database, copy = tmp_path / "new.db", tmp_path / "copy.db"
    url = f"sqlite:///{database}"
    for arguments, status, output, error in (
        (["check"], 1, "", f"plangate-store: there is no database at {database}\n"),
        (["migrate"], 0, "the schema is ", ""),
        (["check"], 0, "schema ", ""),
        (["seal"], 8, "", "plangate-store: sealing takes what the log says now as true, whoever wrote it: --yes "),
        (["seal", "--yes"], 0, "sealed 0 events up to revision 0 with the key ", ""),
        (["export"], 0, "", ""),
        (["backup", str(copy)], 0, f"{copy}: ", ""),
        (["backup", str(copy)], 1, "", f"plangate-store: {copy} exists already\n"),
        (["nonsense"], 2, "", "usage: "),
    ):
        done = run(*arguments, url=url)
        assert done.returncode == status, arguments
        assert done.stdout.startswith(output)
        assert done.stderr.startswith(error)
        assert bool(done.stderr) == bool(error), done.stderr


def test_an_export_is_utf8_everywhere_and_says_when_it_could_not_be_written(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(filled(sqlite_url))
    log = tmp_path / "log.jsonl"
    log.write_text(run("export", url=sqlite_url, PYTHONIOENCODING="utf-8").stdout, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    for output, status, said in (
        (tmp_path / "other.jsonl", 0, ""),
        (Path("/dev/full"), 1, "plangate-store: the log cannot be written: No space left on device\n"),
    ):
        with output.open("wb") as file:
            done = subprocess.run(
                [sys.executable, "-m", "store_service", "export"],
                env={**clean, "PLANGATE_DATABASE_URL": sqlite_url, "PYTHONIOENCODING": "latin-1"},
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                cwd=ROOT,
            )
        assert (done.returncode, done.stderr) == (status, said)
    assert (tmp_path / "other.jsonl").read_bytes() == log.read_bytes()
    assert verify(log)[0] == 0


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [("migrate", ""), ("check", ""), ("check", "1"), ("export", ""), ("backup", ""), ("serve", ""), ("serve", "1")],
)
def test_output_that_nobody_reads_ends_a_subcommand_quietly(
    command: str, unbuffered: str, sqlite_url: str, tmp_path: Path
) -> None:
    asyncio.run(filled(sqlite_url))
    more = [str(tmp_path / "copy.db")] if command == "backup" else []
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(
            command,
            *more,
            url=sqlite_url,
            stdout=writer,
            PYTHONUNBUFFERED=unbuffered,
            PLANGATE_STORE_LISTEN="127.0.0.1:0",
            PLANGATE_LOG_LEVEL="error",
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    assert asyncio.run(administration.check(sqlite_url)).problems == ()


def test_a_reader_of_an_export_may_go_when_it_has_seen_enough(sqlite_url: str) -> None:
    asyncio.run(filled(sqlite_url))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        # More than a pipe holds.
        connection.execute("UPDATE events SET snapshot = zeroblob(100000)")
    connection.close()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "store_service", "export"],
        env={**clean, "PLANGATE_DATABASE_URL": sqlite_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        assert exporting.stdout.readline().startswith(b'{"revision":1,')
        exporting.stdout.close()
        assert (exporting.wait(timeout=60), exporting.stderr.read()) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("command", "unbuffered"), [("migrate", ""), ("check", ""), ("check", "1")])
def test_an_answer_that_a_full_disk_does_not_take_is_said_to_be(command: str, unbuffered: str, sqlite_url: str) -> None:
    asyncio.run(filled(sqlite_url))
    with Path("/dev/full").open("wb") as full:
        done = run(command, url=sqlite_url, stdout=full.fileno(), PYTHONUNBUFFERED=unbuffered)
    said = "plangate-store: the answer cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("command", ["migrate", "check", "export"])
def test_what_is_no_database_of_ours_is_refused_in_one_sentence(command: str, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE proposals (id)")
    connection.close()
    for url in ("nonsense", "postgresql://host:port/name", f"sqlite:///{foreign}"):
        done = run(command, url=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("plangate-store: ")
        assert done.stderr.count("\n") == 1, done.stderr
    with pytest.raises(BackupRefused, match="not a store's database"):
        back_up(f"sqlite:///{foreign}", tmp_path / "copy.db")


def test_what_postgresql_refuses_is_said_in_its_words(postgres_server: PostgresServer) -> None:
    asyncio.run(postgres_server.run("CREATE ROLE newcomer LOGIN"))
    postgres_server.make_database("bare")
    url = postgres_server.url("bare")
    try:
        for wrong, said in (
            (postgres_server.url("nowhere"), 'database "nowhere" does not exist'),
            (url.replace("postgres@", "nobody@"), 'role "nobody" does not exist'),
            (url.replace("postgres@", "newcomer@"), "permission denied for schema public"),
            (f"{url}?nope=1", "the database URL has an option 'nope'; there are host, "),
            (url.replace(f":{postgres_server.port}", ":99999"), "the database URL has no port: 99999"),
        ):
            done = run("migrate", url=wrong)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert said in done.stderr
        done = run("check", url=url)
        assert done.stderr == "plangate-store: the database is not a store's: it has no table alembic_version\n"
        # As libpq calls it, and most who print URLs.
        assert run("migrate", url=f"{url}?sslmode=disable").returncode == 0
    finally:
        postgres_server.drop_database("bare")
        asyncio.run(postgres_server.run("DROP ROLE newcomer"))


def test_rights_and_tables_that_postgresql_has_not(postgres_server: PostgresServer, postgres_url: str) -> None:
    as_reader = postgres_url.replace("postgres@", "onlooker@")

    async def reasons() -> list[str]:
        found = []

        async def tried(call: Any) -> None:
            try:
                await call
            except grpc.aio.AioRpcError as error:
                found.append(from_rpc_error(error).reason)
            else:
                found.append("")

        async with running_store(as_reader) as store:
            await tried(store.planner.propose())
            for statement, back in (
                ("REVOKE INSERT ON proposals FROM onlooker", "GRANT INSERT ON proposals TO onlooker"),
                ("ALTER TABLE proposals RENAME TO others", "ALTER TABLE others RENAME TO proposals"),
                (
                    "ALTER TABLE proposals RENAME COLUMN evidence TO proof",
                    "ALTER TABLE proposals RENAME COLUMN proof TO evidence",
                ),
            ):
                await changed(postgres_url, statement)
                await tried(store.planner.propose())
                await changed(postgres_url, back)
                await tried(store.planner.propose())
        return found

    asyncio.run(postgres_server.run("CREATE ROLE onlooker LOGIN"))
    try:
        asyncio.run(changed(postgres_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO onlooker"))
        done = run(url=as_reader, PLANGATE_STORE_LISTEN="127.0.0.1:0", PLANGATE_LOG_LEVEL="error")
        said = "the database cannot be reached or written now: permission denied for table log_head"
        assert (done.returncode, done.stderr) == (1, f"plangate-store: {said}\n")
        assert asyncio.run(administration.check(as_reader)).problems == ()
        asyncio.run(changed(postgres_url, "GRANT ALL ON ALL TABLES IN SCHEMA public TO onlooker"))
        assert asyncio.run(reasons()) == ["", *["DATABASE_UNAVAILABLE", ""] * 3]
        # Tables where nobody looks are none.
        asyncio.run(changed(postgres_url, "CREATE SCHEMA elsewhere"))
        asyncio.run(changed(postgres_url, "ALTER TABLE alembic_version SET SCHEMA elsewhere"))
        done = run("check", url=postgres_url)
        said = "the database is not a store's: it has no table alembic_version"
        assert (done.returncode, done.stderr) == (1, f"plangate-store: {said}\n")
    finally:
        asyncio.run(changed(postgres_url, "DROP OWNED BY onlooker"))
        asyncio.run(postgres_server.run("DROP ROLE onlooker"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLANGATE_LEASE_SECONDS", "soon"),
        # What gRPC's 32 bits and timers do not hold.
        ("PLANGATE_KEEPALIVE_SECONDS", "1e9"),
        ("PLANGATE_KEEPALIVE_TIMEOUT_SECONDS", "1e9"),
        ("PLANGATE_MAX_REQUEST_BYTES", "3000000000"),
        ("PLANGATE_READ_TIMEOUT_SECONDS", "1e300"),
    ],
)
def test_wrong_settings_are_named(name: str, value: str, sqlite_url: str) -> None:
    done = run(url=sqlite_url, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"plangate-store: {name}: ")
