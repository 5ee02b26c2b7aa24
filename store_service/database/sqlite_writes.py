"""What a batch writes to SQLite: one transaction, as one function for the connection's thread."""

# Names come from our own models and values are always parameters, so no statement can be injected into.
# ruff: noqa: S608

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Table

from store_service.database.rows import Row
from store_service.database.write_session import Conflict, guard_of


class CommitFailed(Exception):
    """The transaction's last statement failed. `error` is what SQLite said."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class RowsWrite:
    """A statement, once with each of several rows.

    missing: when given, each must hit one row of the database, and this is what the Conflict says if not.
    """

    statement: str
    rows: Sequence[Row]
    missing: str = ""

    def run(self, connection: sqlite3.Connection) -> None:
        """Raises sqlite3.Error and Conflict."""
        hit = connection.executemany(self.statement, self.rows).rowcount
        if self.missing and hit != len(self.rows):
            raise Conflict(self.missing)


def insert(table: Table, rows: Sequence[Row]) -> RowsWrite:
    """Adds rows of all the table's columns."""
    return RowsWrite(_insert(table), rows)


def update(table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> RowsWrite:
    """Sets columns to the first values of each row, where id and version are its last two."""
    return RowsWrite(_update(table, columns), rows, missing=f"{table.name} changed under the writer")


def delete(table: Table, columns: Sequence[str], rows: Sequence[Row]) -> RowsWrite:
    """Removes the rows that have these values."""
    condition = " AND ".join(f"{name} = ?" for name in columns)
    return RowsWrite(f"DELETE FROM {table.name} WHERE {condition}", rows)


def write(connection: sqlite3.Connection, writes: Sequence[RowsWrite], begin: bool, commit: bool) -> None:
    """Begins (with the lock) and commits as told, the writes in between; when anything fails, all is rolled back.

    Raises sqlite3.Error, Conflict and CommitFailed.
    """
    try:
        if begin:
            connection.execute("BEGIN IMMEDIATE")
        for each in writes:
            each.run(connection)
    except BaseException:
        roll_back(connection)
        raise
    if commit:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            roll_back(connection)
            raise CommitFailed(error) from error


def roll_back(connection: sqlite3.Connection) -> None:
    """Never fails: what cannot be rolled back is still in its transaction."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@lru_cache(maxsize=16)
def _insert(table: Table) -> str:
    names = ", ".join(column.key for column in table.columns)
    places = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({names}) VALUES ({places})"


@lru_cache(maxsize=16)
def _update(table: Table, columns: tuple[str, ...]) -> str:
    settings = ", ".join(f"{name} = ?" for name in columns)
    return f"UPDATE {table.name} SET {settings} WHERE id = ? AND {guard_of(table)} = ?"
