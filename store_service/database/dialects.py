"""What differs between SQLite and PostgreSQL, as constructs that compile to either. Statements are the same for both.

Without statistics SQLite may prefer another index than the one a query was made for, and read a million rows: `using`
names the index there. Row locks (`with_for_update`) mean nothing on SQLite, where BEGIN IMMEDIATE locks the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

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


class TextList(TypeDecorator[Sequence[str]]):
    """A parameter of many texts: the statement is the same however many they are."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text))

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else list(value or ())


class _OneOf(FunctionElement[Any]):
    # Not Boolean: SQLite has none, and SQLAlchemy would append `= 1`, which no index helps.
    type = NULLTYPE
    inherit_cache = True
    name = "one_of"


class _CodePoints(FunctionElement[str]):
    type = Text()
    inherit_cache = True
    name = "code_points"


class _Label(FunctionElement[str]):
    type = Text()
    inherit_cache = True
    name = "label"


class _Position(FunctionElement[int]):
    type = BigInteger()
    inherit_cache = True
    name = "position_of"


class _AnyCase(FunctionElement[str]):
    type = Text()
    inherit_cache = True
    name = "any_case"


class TextItems(FunctionElement[str]):
    """The items of a JSON list of texts, as a table with the column `value`."""

    type = Text()
    inherit_cache = True
    name = "text_items"


def one_of(column: ColumnElement[Any] | Any, parameter: str) -> ColumnElement[bool]:
    """The column holds one of the texts that the parameter of this name holds."""
    return _OneOf(column, bindparam(parameter, type_=TextList))


def one_of_these(column: ColumnElement[Any] | Any, texts: Sequence[str]) -> ColumnElement[bool]:
    """The column holds one of these texts."""
    return _OneOf(column, literal(texts, TextList))


def by_code_point(column: ColumnElement[str] | Any) -> ColumnElement[str]:
    """For < and >: as SQLite and watchers compare texts, not by the language of a PostgreSQL database."""
    return _CodePoints(column)


def label(column: ColumnElement[Any] | Any, key: str) -> ColumnElement[str]:
    """The value of one label; empty when there is none."""
    return _Label(column, literal(key, Text))


def has_part(column: ColumnElement[str] | Any, part: str) -> ColumnElement[bool]:
    """The text has this part, exactly."""
    return _Position(column, literal(part, Text)) > 0


def has_words(column: ColumnElement[str] | Any, words: str) -> ColumnElement[bool]:
    """The text has this part, whatever the case of its ASCII letters."""
    return _AnyCase(column).contains(words.encode().lower().decode(), autoescape=True)


def number(value: int) -> ColumnElement[int]:
    """A number to compare columns with: PostgreSQL would refuse one that is too large for the column."""
    return literal(value, BigInteger)


def using(statement: S, row: type[Any], index: Index) -> S:
    """The statement, with the index that SQLite is to use for the table."""
    return statement.with_hint(row, f"INDEXED BY {index.name}", "sqlite")


@compiles(_OneOf, "sqlite")
def _one_of_json(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = element.clauses
    items = func.json_each(texts).table_valued("value")
    return compiler.process(column.in_(select(items.c.value)), **options)


@compiles(_OneOf, "postgresql")
def _one_of_array(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = element.clauses
    return compiler.process(column == any_(texts), **options)


@compiles(_CodePoints, "sqlite")
def _as_it_is(element: _CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **options)


@compiles(_CodePoints, "postgresql")
def _collated(element: _CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)).collate("C"), **options)


@compiles(_Position, "sqlite")
def _instr(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(func.instr(*element.clauses), **options)


@compiles(_Position, "postgresql")
def _strpos(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(func.strpos(*element.clauses), **options)


@compiles(_AnyCase, "sqlite")
def _like_ignores_case(element: _AnyCase, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **options)


@compiles(_AnyCase, "postgresql")
def _lower_ascii(element: _AnyCase, compiler: SQLCompiler, **options: Any) -> str:
    # By the language of the database it would lower other letters too, as SQLite does not.
    return compiler.process(func.lower(next(iter(element.clauses)).collate("C")), **options)


@compiles(_Label, "sqlite")
def _label_by_path(element: _Label, compiler: SQLCompiler, **options: Any) -> str:
    column, key = element.clauses
    path = literal('$."', Text) + key + literal('"', Text)
    return compiler.process(func.coalesce(func.json_extract(column, path), ""), **options)


@compiles(_Label, "postgresql")
def _label_by_key(element: _Label, compiler: SQLCompiler, **options: Any) -> str:
    column, key = element.clauses
    value = cast(column, JSON).op("->>", return_type=Text())(key)
    return compiler.process(func.coalesce(value, ""), **options)


@compiles(TextItems, "sqlite")
def _items_of_json(element: TextItems, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(func.json_each(next(iter(element.clauses))), **options)


@compiles(TextItems, "postgresql")
def _items_of_json_text(element: TextItems, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(func.json_array_elements_text(cast(next(iter(element.clauses)), JSON)), **options)
