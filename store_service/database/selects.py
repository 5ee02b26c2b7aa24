"""SELECT statements built from what was asked: a text and its parameters. Values never become part of the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Table

from store_service.database.models import IN_A_PLAN, IN_A_REQUEST
from store_service.database.read_pool import Dialect
from store_service.filters import And, Comparison, Expression, Operator, Or

_SQL_OPERATORS = {
    Operator.EQUAL: "=",
    Operator.NOT_EQUAL: "<>",
    Operator.LESS: "<",
    Operator.LESS_OR_EQUAL: "<=",
    Operator.GREATER: ">",
    Operator.GREATER_OR_EQUAL: ">=",
}
_LABELS = "labels"
# Fields whose index leaves out what has none.
_PARTLY_INDEXED = {"plan_id": IN_A_PLAN, "request_id": IN_A_REQUEST}


class Select:
    """Collects parameters while the text is put together; `bind` gives the placeholder of a value."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        self.parameters: list[Any] = []

    def bind(self, value: Any) -> str:
        self.parameters.append(value)
        if self._dialect == "sqlite":
            return "?"
        # PostgreSQL would take the column's type, and refuse a number that is too large for it instead of comparing.
        return f"${len(self.parameters)}{'::bigint' if isinstance(value, int) else ''}"

    def any_of(self, column: str, texts: Sequence[str]) -> str:
        """The column has one of these texts. One parameter however many they are: the statement stays the same."""
        if self._dialect == "sqlite":
            return f"{column} IN (SELECT value FROM json_each({self.bind(json.dumps(texts))}))"  # noqa: S608 - bound
        return f"{column} = ANY({self.bind(list(texts))})"

    def condition(self, expression: Expression, table: Table, alias: str) -> str:
        """A filter over this table's columns, which have the names of its fields."""
        if isinstance(expression, Comparison):
            return self._comparison(expression, table, alias)
        if isinstance(expression, And):
            return "(" + " AND ".join(self.condition(term, table, alias) for term in expression.terms) + ")"
        if isinstance(expression, Or):
            return "(" + " OR ".join(self.condition(term, table, alias) for term in expression.terms) + ")"
        return f"NOT ({self.condition(expression.term, table, alias)})"

    def _comparison(self, comparison: Comparison, table: Table, alias: str) -> str:
        column = f"{alias}.{table.columns[comparison.field].name}"
        if comparison.field == _LABELS:
            column = self._label(column, comparison.key or "")
        elif self._dialect == "postgresql" and isinstance(comparison.value, str) and _is_inequality(comparison):
            # As SQLite and the watchers compare: by code point, not by the database's language.
            column += ' COLLATE "C"'
        condition = f"{column} {_SQL_OPERATORS[comparison.operator]} {self.bind(comparison.value)}"
        if comparison.operator is Operator.EQUAL and comparison.value and comparison.field in _PARTLY_INDEXED:
            # Says nothing new, but in the words of the partial index, which is not used without them.
            return f"({condition} AND {alias}.{_PARTLY_INDEXED[comparison.field]})"
        return condition

    def _label(self, column: str, key: str) -> str:
        # Keys were checked to hold letters, digits and -_. only, and are bound all the same.
        if self._dialect == "sqlite":
            path = f'$."{key}"'
            return f"COALESCE(json_extract({column}, {self.bind(path)}), '')"
        return f"COALESCE(CAST({column} AS json) ->> {self.bind(key)}, '')"

    def after(self, columns: Sequence[str], position: Sequence[Any], direction: Literal["<", ">"]) -> str:
        """Rows beyond a position in the order of these columns."""
        return f"({', '.join(columns)}) {direction} ({', '.join(self.bind(value) for value in position)})"


def _is_inequality(comparison: Comparison) -> bool:
    return comparison.operator not in (Operator.EQUAL, Operator.NOT_EQUAL)
