"""Filters and page positions as SQLAlchemy expressions over mapped columns. Values are always parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, Text, and_, literal, not_, or_, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from store_service.database.dialects import by_code_point, label, number
from store_service.database.models import is_present
from store_service.database.orm import Base
from store_service.filters import And, Comparison, Expression, Operator, Or
from store_service.page_tokens import Position

_COMPARE: dict[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
_EQUALITY = (Operator.EQUAL, Operator.NOT_EQUAL)
_LABELS = "labels"
# Fields whose index leaves out what has none.
_PARTLY_INDEXED = frozenset({"plan_id", "request_id"})


def condition(expression: Expression, model: type[Base]) -> ColumnElement[bool]:
    """A filter over the model's attributes, which have the names of its fields."""
    if isinstance(expression, Comparison):
        return _comparison(expression, model)
    if isinstance(expression, And):
        return and_(*(condition(term, model) for term in expression.terms))
    if isinstance(expression, Or):
        return or_(*(condition(term, model) for term in expression.terms))
    return not_(condition(expression.term, model))


def beyond(
    columns: Sequence[InstrumentedAttribute[Any]], position: Position, *, descending: bool
) -> ColumnElement[bool]:
    """Rows beyond a position in the order of these columns."""
    values = tuple_(*(_value(value) for value in position))
    return tuple_(*columns) < values if descending else tuple_(*columns) > values


def ordered(columns: Sequence[SQLColumnExpression[Any]], *, descending: bool) -> list[ColumnElement[Any]]:
    """For order_by."""
    return [column.desc() if descending else column.asc() for column in columns]


def _comparison(comparison: Comparison, model: type[Base]) -> ColumnElement[bool]:
    attribute: InstrumentedAttribute[Any] = getattr(model, comparison.field)
    column: Any = attribute
    if comparison.field == _LABELS:
        column = label(attribute, comparison.key or "")
    elif isinstance(comparison.value, str) and comparison.operator not in _EQUALITY:
        column = by_code_point(attribute)
    compared = _COMPARE[comparison.operator](column, _value(comparison.value))
    if comparison.operator is Operator.EQUAL and comparison.value and comparison.field in _PARTLY_INDEXED:
        # Adds nothing, but is the condition of the partial index, which is not used without it.
        return and_(compared, is_present(attribute))
    return compared


def _value(value: str | int) -> ColumnElement[Any]:
    return literal(value, Text) if isinstance(value, str) else number(value)
