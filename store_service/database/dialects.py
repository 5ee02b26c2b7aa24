"""What differs between SQLite and PostgreSQL, as constructs that compile to either. Statements are the same for both.

Without statistics SQLite may prefer another index than the one a query was made for, and read a million rows: `using`
names the index there. Row locks (`with_for_update`) mean nothing on SQLite, where BEGIN IMMEDIATE locks the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    Dialect,
    Index,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NULLTYPE, TypeDecorator, TypeEngine

from store_service.database.orm import AnySelect

S = TypeVar("S", bound=AnySelect)
Column: TypeAlias = ColumnElement[Any] | Any


class TextList(TypeDecorator[Sequence[str]]):
    """A parameter of many texts: the statement is the same however many they are."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text))

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else list(value or ())


def _construct(
    kind: TypeEngine[Any], *, sqlite: Callable[..., ColumnElement[Any]], postgresql: Callable[..., ColumnElement[Any]]
) -> type[FunctionElement[Any]]:
    """A construct of this type. `sqlite`, `postgresql`: what it is there, of the expressions that it is given."""

    class Construct(FunctionElement[Any]):
        type = kind
        inherit_cache = True

    for dialect, expression in (("sqlite", sqlite), ("postgresql", postgresql)):

        def compiled(
            element: FunctionElement[Any],
            compiler: SQLCompiler,
            expression: Callable[..., ColumnElement[Any]] = expression,
            **options: Any,
        ) -> str:
            return compiler.process(expression(*element.clauses), **options)

        compiles(Construct, dialect)(compiled)
    return Construct


def _in_json(column: ColumnElement[Any], texts: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.in_(select(func.json_each(texts).table_valued("value").c.value))


def _label_by_path(column: ColumnElement[Any], key: ColumnElement[str]) -> ColumnElement[str]:
    path = literal('$."', Text) + key + literal('"', Text)
    return func.coalesce(func.json_extract(column, path), "")


def _label_by_key(column: ColumnElement[Any], key: ColumnElement[str]) -> ColumnElement[str]:
    return func.coalesce(cast(column, JSON).op("->>", return_type=Text())(key), "")


_OneOf = _construct(
    # Not Boolean: SQLite has none, and SQLAlchemy would append `= 1`, which no index helps.
    NULLTYPE,
    sqlite=_in_json,
    postgresql=lambda column, texts: column == any_(texts),
)
_CodePoints = _construct(Text(), sqlite=lambda text: text, postgresql=lambda text: text.collate("C"))
_Label = _construct(Text(), sqlite=_label_by_path, postgresql=_label_by_key)
_Position = _construct(BigInteger(), sqlite=func.instr, postgresql=func.strpos)
_AnyCase = _construct(
    Text(),
    sqlite=lambda text: text,  # LIKE ignores the case of ASCII letters.
    # By the language of the database it would lower other letters too, as SQLite does not.
    postgresql=lambda text: func.lower(text.collate("C")),
)
TextItems = _construct(
    Text(), sqlite=func.json_each, postgresql=lambda text: func.json_array_elements_text(cast(text, JSON))
)
"""The items of a JSON list of texts, as a table with the column `value`."""


def one_of(column: Column, parameter: str) -> ColumnElement[bool]:
    """The column holds one of the texts that the parameter of this name holds."""
    return _OneOf(column, bindparam(parameter, type_=TextList))


def one_of_these(column: Column, texts: Sequence[str]) -> ColumnElement[bool]:
    """The column holds one of these texts."""
    return _OneOf(column, literal(texts, TextList))


def by_code_point(column: Column) -> ColumnElement[str]:
    """For < and >: as SQLite and watchers compare texts, not by the language of a PostgreSQL database."""
    return _CodePoints(column)


def label(column: Column, key: str) -> ColumnElement[str]:
    """The value of one label; empty when there is none."""
    return _Label(column, literal(key, Text))


def has_part(column: Column, part: str) -> ColumnElement[bool]:
    """The text has this part, exactly."""
    return _Position(column, literal(part, Text)) > 0


def has_words(column: Column, words: str) -> ColumnElement[bool]:
    """The text has this part, whatever the case of its ASCII letters."""
    return _AnyCase(column).contains(words.encode().lower().decode(), autoescape=True)


def number(value: int) -> ColumnElement[int]:
    """A number to compare columns with: PostgreSQL would refuse one that is too large for the column."""
    return literal(value, BigInteger)


def using(statement: S, row: type[Any], index: Index) -> S:
    """The statement, with the index that SQLite is to use for the table."""
    return statement.with_hint(row, f"INDEXED BY {index.name}", "sqlite")
