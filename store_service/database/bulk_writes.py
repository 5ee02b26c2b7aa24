"""Many rows in one statement: what a batch writes.

An UPDATE carries the model's version_id_col in its condition, as flushes of the ORM do, and the rows that it hits are
counted: a flush would send one statement a row. Statements run on the session's connection, in its transaction, and
without the session's own work for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, Delete, Insert, Table, Update, bindparam, column, delete, func, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from store_service.database.failures import Conflict
from store_service.database.orm import AsyncOntologyObject, Base
from store_service.database.rows import E, EntityRows

# Names of parameters that no column has.
_KEY, _NEW = "key_{}", "new_{}"


async def insert_rows(session: AsyncSession, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Adds rows. Raises Conflict when one exists already."""
    await (await session.connection()).execute(_insert(model), rows)


async def save_entities(
    session: AsyncSession, entities: EntityRows[E], changes: Sequence[tuple[E | None, E | None]]
) -> None:
    """Writes each change: as it was loaded (None: it is new) and as it is to be (None: it is to be removed).

    Raises Conflict when a row is not in the version that was loaded.
    """
    created: list[dict[str, Any]] = []
    changed: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    purged: list[tuple[str, ...]] = []
    for before, after in changes:
        if after is None:
            if before is not None:
                purged.append((before.id,))
        elif before is None:
            created.append(entities.values(after))
        else:
            columns, values = entities.changed_columns(before, after), entities.values(after)
            row = {name: values[name] for name in columns}
            changed[columns].append({**row, "key_id": before.id, "key_version": before.version})
    if created:
        await insert_rows(session, entities.model, created)
    for columns, rows in changed.items():
        await _update_rows(session, entities.model, columns, rows)
    if purged:
        await delete_rows(session, entities.model, ("id",), purged)


async def _update_rows(
    session: AsyncSession, model: type[AsyncOntologyObject], columns: tuple[str, ...], rows: Sequence[dict[str, Any]]
) -> None:
    """Sets `columns` of the rows with these `key_id` and `key_version`. Raises Conflict when one is not in that version
    any more."""
    connection = await session.connection()
    if connection.dialect.supports_sane_multi_rowcount:
        result = await connection.execute(_update(model), rows)
    else:
        # asyncpg does not count what many executions hit: all values go as one array a column.
        parameters = {_NEW.format(name): [row[name] for row in rows] for name in (*columns, "key_id", "key_version")}
        result = await connection.execute(_update_from_arrays(model, columns), parameters)
    if result.rowcount != len(rows):
        raise Conflict(f"{model.__tablename__} changed under the writer")


async def delete_rows(
    session: AsyncSession, model: type[Base], columns: tuple[str, ...], keys: Sequence[tuple[str, ...]]
) -> None:
    """Removes the rows in which `columns` have these values."""
    names = [_KEY.format(name) for name in columns]
    connection = await session.connection()
    await connection.execute(_delete(model, columns), [dict(zip(names, key, strict=True)) for key in keys])


@lru_cache
def _insert(model: type[Base]) -> Insert:
    return insert(model)


@lru_cache
def _update(model: type[AsyncOntologyObject]) -> Update:
    """The columns to set are those that the parameters name."""
    table, guard = _table(model), _guard(model)
    return update(table).where(table.c.id == bindparam("key_id"), table.c[guard] == bindparam("key_version"))


@lru_cache(maxsize=256)
def _update_from_arrays(model: type[AsyncOntologyObject], columns: tuple[str, ...]) -> Update:
    table, guard = _table(model), _guard(model)
    types = {name: table.c[name].type for name in columns} | {
        "key_id": table.c.id.type,
        "key_version": table.c[guard].type,
    }
    arrays = [bindparam(_NEW.format(name), type_=ARRAY(kind, dimensions=1)) for name, kind in types.items()]
    given = func.unnest(*arrays).table_valued(*(column(name, kind) for name, kind in types.items())).render_derived()
    return (
        update(table)
        .values({name: given.c[name] for name in columns})
        .where(table.c.id == given.c.key_id, table.c[guard] == given.c.key_version)
    )


@lru_cache
def _delete(model: type[Base], columns: tuple[str, ...]) -> Delete:
    table = _table(model)
    return delete(table).where(*(table.c[name] == bindparam(_KEY.format(name)) for name in columns))


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _guard(model: type[AsyncOntologyObject]) -> str:
    guard = model.__mapper__.version_id_col
    assert guard is not None, f"{model.__name__} is not versioned"
    return str(guard.key)
