"""The dialect of SQLite: one visit of the connection's thread per statement, and cancelled statements end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store_service.database.sqlite.aiosqlite_dialect import DRIVER_NAME

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("id", Integer, primary_key=True), Column("name", Text, index=True))


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"{DRIVER_NAME}:///{tmp_path}/things.db", connect_args={"isolation_level": None})
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    yield engine
    await engine.dispose()


async def add(connection: AsyncConnection, count: int) -> None:
    await connection.execute(insert(THINGS), [{"id": number, "name": f"thing {number}"} for number in range(count)])


@pytest.mark.asyncio
async def test_rows_come_with_their_names(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await add(connection, 5)
        rows = (await connection.execute(select(THINGS).order_by(THINGS.c.id))).all()
        assert [(row.id, row.name) for row in rows] == [(number, f"thing {number}") for number in range(5)]
        result = await connection.execute(select(THINGS.c.name).order_by(THINGS.c.id))
        assert result.fetchmany(2) == [("thing 0",), ("thing 1",)]
        assert result.fetchone() == ("thing 2",)
        assert list(result.scalars()) == ["thing 3", "thing 4"]
        nothing = await connection.execute(select(THINGS).where(THINGS.c.id == 99))
        assert (list(nothing.keys()), nothing.all()) == (["id", "name"], [])


@pytest.mark.asyncio
async def test_what_was_hit_is_counted(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await add(connection, 5)
        assert (await connection.execute(update(THINGS).where(THINGS.c.id > 2).values(name="x"))).rowcount == 2
        named = update(THINGS).where(THINGS.c.id == bindparam("key"))
        parameters = [{"key": key, "name": "y"} for key in (0, 1, 77)]
        assert (await connection.execute(named, parameters)).rowcount == 2


@pytest.mark.asyncio
async def test_a_statement_is_one_visit_of_the_thread(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    visits = 0
    execute = aiosqlite.Connection._execute

    def counted(self: aiosqlite.Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal visits
        visits += 1
        return execute(self, *arguments, **options)

    async with engine.connect() as connection:
        await add(connection, 3)
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        assert len((await connection.execute(select(THINGS))).all()) == 3
        await connection.execute(update(THINGS).where(THINGS.c.id == bindparam("key")), [{"key": 1, "name": "x"}] * 2)
        assert visits == 2


@pytest.mark.asyncio
async def test_errors_are_sqlalchemys(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await add(connection, 1)
        with pytest.raises(IntegrityError, match="UNIQUE constraint"):
            await add(connection, 1)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.close()
        with pytest.raises(OperationalError, match="Connection closed") as refused:
            await connection.execute(select(THINGS))
        assert refused.value.connection_invalidated


@pytest.mark.asyncio
async def test_a_cancelled_call_ends_its_statement(engine: AsyncEngine) -> None:
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 10**10))
    begun = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with engine.connect() as connection, asyncio.timeout(0.05):
            await connection.scalar(select(func.count()).select_from(numbers))
    assert time.perf_counter() - begun < 5
    async with engine.connect() as connection:
        await add(connection, 1)


@pytest.mark.asyncio
async def test_a_hint_names_the_index(engine: AsyncEngine) -> None:
    statement = select(THINGS.c.id).where(THINGS.c.name == "x").with_hint(THINGS, "INDEXED BY ix_things_name", "sqlite")
    assert "FROM things INDEXED BY ix_things_name" in str(statement.compile(engine.sync_engine))
    async with engine.connect() as connection:
        assert (await connection.execute(statement)).all() == []
