"""Lists that would look at everything: bounded in time, ended when nobody waits for them; and those that need not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from plangate.store.v1 import store_service_pb2 as rpc
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from store_service.database.database import DatabaseOptions, open_database
from store_service.database.reader import Reader
from store_service.domain.errors import DatabaseUnavailable
from store_service.filters import parse
from store_service.queries import EVENT_FIELDS, PLAN_FIELDS, PROPOSAL_FIELDS, PageQuery, event_order, resource_order
from tests.support.served_store import Client, RunningStore, failure_of, running_store

# No row fits, every row is looked at, and a hundred times at that.
EVERYTHING = " OR ".join(f'labels.key{number} = "x"' for number in range(100))
# Left alone such a list takes two seconds or so.
ROWS = {"sqlite": 100_000, "postgresql": 4_000}
_NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :rows) SELECT n FROM n)",
    "postgresql": "generate_series(1, :rows) AS numbers(n)",
}


async def fill(url: str) -> None:
    """Proposals enough to make a list that has no index take seconds, past the store."""
    await (await open_database(url)).close()
    driver = url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(driver)
    async with engine.begin() as connection:
        numbers = _NUMBERS[engine.dialect.name]
        await connection.execute(
            text(
                "INSERT INTO proposals (id, version, plan_id, job_id, action_name, args_json, args_digest, "
                "description, evidence, priority, labels, state, required_approvals, reviewer_role, approvals, "
                "depends_on, cancel_requested, attempt, max_attempts, created_by, updated_by, create_time, "
                "update_time) SELECT CAST(n AS TEXT), 1, '', '', 'act', '{}', '', '', '', 0, :labels, 'EXECUTED', 1, "
                f"'', '[]', '[]', :no, 0, 1, 'alice', 'alice', n, n FROM {numbers}"
            ),
            {
                "rows": ROWS[engine.dialect.name],
                "no": False,
                "labels": json.dumps({f"label{number}": "value" for number in range(60)}),
            },
        )
    await engine.dispose()


@contextlib.asynccontextmanager
async def slow_store(url: str, **settings: Any) -> AsyncIterator[RunningStore]:
    """One connection reads: a statement that goes on holds up every other read."""
    await fill(url)
    async with running_store(url, read_connections=1, **settings) as store:
        # PostgreSQL sees at once that a join with an empty log gives nothing.
        await store.planner.propose()
        yield store


def listing(client: Client, **options: Any) -> grpc.aio.UnaryUnaryCall:
    return client.proposals.ListProposals(rpc.ListProposalsRequest(filter=EVERYTHING), **options)


async def assert_reads_are_quick(client: Client) -> None:
    begun = time.perf_counter()
    count = await client.proposals.CountProposals(rpc.CountProposalsRequest())
    assert count.total in {rows + 1 for rows in ROWS.values()}
    # The list, had it not been stopped, would have gone on for longer.
    assert time.perf_counter() - begun < 1.2


@pytest.mark.asyncio
async def test_a_read_that_takes_too_long_ends_with_its_name(database_url: str) -> None:
    async with slow_store(database_url, read_timeout_seconds=0.2) as store:
        begun = time.perf_counter()
        # At once: the second waits for the only connection, and its time is over when it gets it.
        for call in (
            listing(store.bob),
            store.bob.proposals.CountProposals(rpc.CountProposalsRequest(filter=EVERYTHING)),
        ):
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "READ_TIMED_OUT")
            assert failure.metadata == {"timeout_seconds": "0.2"}
        assert (await failure_of(listing(store.bob))).reason == "READ_TIMED_OUT"
        assert time.perf_counter() - begun < 3
        await assert_reads_are_quick(store.bob)


@pytest.mark.asyncio
@pytest.mark.parametrize("ended_by", ["deadline", "cancel"])
async def test_a_read_that_nobody_waits_for_is_stopped(database_url: str, ended_by: str) -> None:
    async with slow_store(database_url, read_timeout_seconds=60) as store:
        if ended_by == "deadline":
            failure = await failure_of(listing(store.bob, timeout=0.2))
            assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            call = listing(store.bob)
            await asyncio.sleep(0.2)
            assert call.cancel()
        await assert_reads_are_quick(store.bob)
        # Again and again: connections are not used up.
        calls = [listing(store.bob) for _ in range(5)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        await assert_reads_are_quick(store.bob)


@pytest.mark.asyncio
async def test_postgres_itself_ends_what_a_store_cannot_end_any_more(postgres_url: str) -> None:
    database = await open_database(postgres_url, DatabaseOptions(statement_seconds=0.1))
    begun = time.perf_counter()
    with pytest.raises(DatabaseUnavailable) as refused:
        async with database.reading.read() as session:
            await session.execute(select(func.pg_sleep(30)))
    assert "statement timeout" in refused.value.problem
    assert time.perf_counter() - begun < 5
    await database.close()


@contextlib.asynccontextmanager
async def explained(url: str) -> AsyncIterator[tuple[Reader, list[str]]]:
    """A reader, and SQLite's plan of every statement that it sends."""
    database = await open_database(url)
    plans: list[str] = []

    def explain(
        connection: Connection, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(str(row[3]) for row in cursor.fetchall())

    async with database.reading.read() as session:
        engine = (await session.connection()).engine.sync_engine
    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield Reader(database.reading), plans
    finally:
        await database.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("filter_", "index"),
    [
        ("created_by = alice", "ix_proposals_created_by"),
        ("created_by = alice AND labels.team = ops", "ix_proposals_created_by"),
        ("action_name = act", "ix_proposals_action_name"),
        ("state = PENDING", "ix_proposals_state_create_time"),
        ("plan_id = p", "ix_proposals_plan_id"),
        ("id = p", "sqlite_autoindex_proposals_1"),
    ],
)
async def test_filters_on_proposals_that_have_an_index(sqlite_url: str, filter_: str, index: str) -> None:
    async with explained(sqlite_url) as (reader, plans):
        await reader.list_proposals(PageQuery(parse(filter_, PROPOSAL_FIELDS), resource_order(""), 50, None))
    assert any(index in plan and plan.startswith("SEARCH proposals ") for plan in plans), plans


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("filter_", "index"),
    [
        ("request_id = x", "ix_events_request_id"),
        ("actor = alice", "ix_events_actor"),
        ("actor = alice AND kind = x", "ix_events_actor"),
        ("entity_id = x", "ux_events_entity_version"),
        ("plan_id = x", "ix_events_plan_id"),
        ("revision > 5", "INTEGER PRIMARY KEY"),
    ],
)
async def test_filters_on_events_that_have_an_index(sqlite_url: str, filter_: str, index: str) -> None:
    async with explained(sqlite_url) as (reader, plans):
        await reader.list_events(PageQuery(parse(filter_, EVENT_FIELDS), event_order(""), 50, None))
    assert any(index in plan and plan.startswith("SEARCH events ") for plan in plans), plans


@pytest.mark.asyncio
async def test_a_requesters_plans_have_an_index(sqlite_url: str) -> None:
    async with explained(sqlite_url) as (reader, plans):
        await reader.list_plans(PageQuery(parse("created_by = alice", PLAN_FIELDS), resource_order(""), 50, None))
    assert any("ix_plans_created_by" in plan for plan in plans), plans
