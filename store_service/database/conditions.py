"""Filters and page positions as SQLAlchemy expressions over mapped columns. Values are always parameters."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    Text,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.orm import InstrumentedAttribute

from plangate_core.contract.scopes import Selection
from store_service.database.dialects import by_code_point, has_part, has_words, label, number
from store_service.database.models import (
    EventModel,
    PlanModel,
    ProposalModel,
    is_present,
    is_shown,
)
from store_service.database.orm import Base
from store_service.domain.proposal import ProposalState
from store_service.filters import And, Comparison, Expression, Operator, Or
from store_service.page_tokens import Position
from store_service.queries import NO_VIEWER, WAITING_FOR_ME, Viewer

_COMPARE: dict[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
_EQUALITY = (Operator.EQUAL, Operator.NOT_EQUAL)
_LABELS, _ARGUMENTS, _SEARCH = "labels", "args", "text"
# Fields whose index leaves out what has none.
_PARTLY_INDEXED = frozenset({"plan_id", "request_id"})
# What a filter over events may say of the plan or proposal that an event is about.
_OF_PROPOSALS = frozenset({"action_name", _ARGUMENTS, _LABELS})
_OF_PLANS = frozenset({_LABELS})


def condition(expression: Expression, model: type[Base], viewer: Viewer = NO_VIEWER) -> ColumnElement[bool]:
    """A filter over the model's attributes, which have the names of its fields."""
    if isinstance(expression, Comparison):
        return _comparison(expression, model, viewer)
    if isinstance(expression, And):
        return and_(*(condition(term, model, viewer) for term in expression.terms))
    if isinstance(expression, Or):
        return or_(*(condition(term, model, viewer) for term in expression.terms))
    return not_(condition(expression.term, model, viewer))


def selected(model: type[PlanModel | ProposalModel], selection: Selection) -> ColumnElement[bool]:
    """What a selection includes."""
    conditions: list[ColumnElement[bool]] = [label(model.labels, key) == value for key, value in selection.labels]
    if selection.actions and model is PlanModel:
        conditions.append(false())
    elif selection.actions:
        begins = [
            func.substr(ProposalModel.action_name, 1, len(beginning)) == beginning
            for beginning in selection.beginnings()
        ]
        conditions.append(or_(ProposalModel.action_name.in_(sorted(selection.actions)), *begins))
    return and_(*conditions)


def readable(model: type[Base], viewer: Viewer) -> ColumnElement[bool]:
    """What is in the viewer's scope: of events, those about such plans and proposals."""
    selections = viewer.scope.reads
    if selections is None:
        return true()
    if model is EventModel:
        # Row by row, not as `_about`: most events that are looked at are in scope, and few are looked at.
        return or_(
            *(
                select(row.id).where(row.id == EventModel.entity_id, readable(row, viewer)).exists()
                for row in (ProposalModel, PlanModel)
            )
        )
    row = ProposalModel if model is ProposalModel else PlanModel
    return or_(row.created_by == viewer.identity, *(selected(row, selection) for selection in selections))


def beyond(
    columns: Sequence[InstrumentedAttribute[Any]], position: Position, *, descending: bool
) -> ColumnElement[bool]:
    """Rows beyond a position in the order of these columns."""
    values = tuple_(*(_value(value) for value in position))
    return tuple_(*columns) < values if descending else tuple_(*columns) > values


def ordered(columns: Sequence[SQLColumnExpression[Any]], *, descending: bool) -> list[ColumnElement[Any]]:
    """For order_by."""
    return [column.desc() if descending else column.asc() for column in columns]


def _comparison(comparison: Comparison, model: type[Base], viewer: Viewer) -> ColumnElement[bool]:
    if comparison.field == _SEARCH:
        return _search(str(comparison.value), model, viewer)
    if comparison.field == WAITING_FOR_ME:
        waits = _waits_for(viewer)
        return waits if (comparison.operator is Operator.EQUAL) == bool(comparison.value) else not_(waits)
    if model is EventModel and comparison.field in _OF_PROPOSALS:
        return _of_subject(comparison)
    if comparison.field == _ARGUMENTS:
        return has_part(ProposalModel.args_json, str(comparison.value))
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


def _search(words: str, model: type[Base], viewer: Viewer) -> ColumnElement[bool]:
    """What a plan was requested by, and what else people read of a plan, proposal or event."""
    plans = or_(has_words(PlanModel.prompt, words), has_words(PlanModel.objective, words))
    if model is PlanModel:
        return plans
    # Who may read a step and not its plan would find out the plan's words one by one.
    plans = and_(plans, readable(PlanModel, viewer))
    proposals = or_(
        has_words(ProposalModel.description, words),
        has_words(ProposalModel.evidence, words),
        ProposalModel.plan_id.in_(select(PlanModel.id).where(plans)),
    )
    return proposals if model is ProposalModel else or_(has_words(EventModel.comment, words), _about(proposals, plans))


def _of_subject(comparison: Comparison) -> ColumnElement[bool]:
    """What the plan or proposal that an event is about says now. Of one that was purged nothing is known."""
    found = comparison
    if comparison.operator is not Operator.HAS:
        # What is about nothing of the kind has the value "": what differs from it is looked up, the rest is not that.
        looked_up = Operator.EQUAL if comparison.value else Operator.NOT_EQUAL
        found = Comparison(comparison.field, looked_up, comparison.value, comparison.key)
    plans = condition(found, PlanModel) if comparison.field in _OF_PLANS else None
    about = _about(condition(found, ProposalModel), plans)
    return about if comparison.operator is found.operator else not_(about)


def _about(proposals: ColumnElement[bool], plans: ColumnElement[bool] | None) -> ColumnElement[bool]:
    """Events about proposals and plans of which this is true."""
    of_proposals = EventModel.entity_id.in_(select(ProposalModel.id).where(proposals))
    return (
        of_proposals
        if plans is None
        else or_(of_proposals, EventModel.entity_id.in_(select(PlanModel.id).where(plans)))
    )


def _waits_for(viewer: Viewer) -> ColumnElement[bool]:
    """Proposals that the viewer may approve now, as `domain.transitions.review` decides."""
    if not viewer.may_approve:
        return false()
    roles = sorted({"", *viewer.roles})
    decision = func.coalesce(type_coerce(ProposalModel.decision, Text), "")
    by_role = has_part(decision, '"approval_requirements":[[')
    writers = literal("\n", Text).concat(ProposalModel.revised_by).concat("\n")
    return and_(
        ProposalModel.state == ProposalState.PENDING,
        is_shown(ProposalModel),
        or_(ProposalModel.expire_time.is_(None), ProposalModel.expire_time > viewer.now),
        ProposalModel.created_by != viewer.identity,
        not_(has_part(writers, f"\n{viewer.identity}\n")),
        not_(_has_list(type_coerce(ProposalModel.approvals, Text), viewer.identity)),
        not_(has_part(decision, '"effect":"DENY"')),
        not_(has_part(type_coerce(ProposalModel.facts, Text), '"end_time":null')),
        or_(
            and_(not_(by_role), ProposalModel.reviewer_role.in_(roles)),
            and_(by_role, or_(*(_has_list(decision, role) for role in roles))),
        ),
    )


def _has_list(column: ColumnElement[Any] | Any, first: str) -> ColumnElement[bool]:
    """JSON text (column_types) has a list of lists one of which begins so: no other list there follows a bracket."""
    text = json.dumps(first, ensure_ascii=False)
    return or_(has_part(column, f"[[{text},"), has_part(column, f"],[{text},"))


def _value(value: str | int) -> ColumnElement[Any]:
    return literal(value, Text) if isinstance(value, str) else number(value)
