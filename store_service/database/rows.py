"""From entities to the values of their rows and back, by name.

A column has the name and the type of the entity's field. What is stored in another form (a lease, a failure, those who
edited a proposal) is listed here; models that differ from their entities in anything else are refused at import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from sqlalchemy.orm import InstrumentedAttribute

from store_service.database.models import (
    PlanModel,
    ProposalModel,
)
from store_service.database.orm import AnyRow, AsyncOntologyObject
from store_service.domain.lease import Failure, Lease, Leased
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

E = TypeVar("E", bound=Leased)

# Fields of an entity that are stored in columns of other names or types.
_STORED_AS: Mapping[str, tuple[str, ...]] = {
    "lease": ("lease_worker", "lease_expire_time"),
    "failure": ("failure_reason", "failure_message"),
    "revised_by": ("revised_by",),
    "earlier_revisers": ("revised_by",),
}


class ModelDiffers(TypeError):
    """A mapped class and its entity do not say the same."""


class EntityRows(Generic[E]):
    """The columns of one entity. `attributes` are the model's, in the order in which `entity` expects a row."""

    def __init__(self, entity: type[E], model: type[AsyncOntologyObject]) -> None:
        self.model = model
        self._entity = entity
        self._names = _names_that_agree(entity, model)
        self._values_of = itemgetter(*self._names)
        self._fields = tuple(field.name for field in fields(entity))
        self.column_names = tuple(dict.fromkeys(name for field in self._fields for name in _columns_of(field)))
        self.attributes: tuple[InstrumentedAttribute[Any], ...] = tuple(
            getattr(model, name) for name in self.column_names
        )

    def values(self, entity: E) -> dict[str, Any]:
        """The values of all columns, by name."""
        values = dict(zip(self._names, self._values_of(vars(entity)), strict=True))
        lease, failure = entity.lease, entity.failure
        values["lease_worker"] = None if lease is None else lease.worker
        values["lease_expire_time"] = None if lease is None else lease.expire_time
        values["failure_reason"] = None if failure is None else failure.reason
        values["failure_message"] = None if failure is None else failure.message
        if isinstance(entity, Proposal):
            # An identity has no line breaks.
            values["revised_by"] = "\n".join((*entity.earlier_revisers, entity.revised_by))
        return values

    def entity(self, row: Sequence[Any] | AnyRow) -> E:
        """The entity of a row of `attributes`."""
        values = dict(zip(self.column_names, row, strict=True))
        worker, expire_time = values.pop("lease_worker"), values.pop("lease_expire_time")
        reason, message = values.pop("failure_reason"), values.pop("failure_message")
        if "revised_by" in values:
            *earlier, values["revised_by"] = values["revised_by"].split("\n")
            values["earlier_revisers"] = tuple(earlier)
        return self._entity.of(
            lease=None if worker is None else Lease(worker, values["attempt"], expire_time),
            failure=None if reason is None else Failure(reason, message),
            **values,
        )

    def changed_columns(self, before: E, after: E) -> tuple[str, ...]:
        """The names of the columns whose values may differ. Entities share what a change left alone."""
        old, new = vars(before), vars(after)
        return _columns_of_all(tuple(name for name in self._fields if old[name] is not new[name]))


def _columns_of(field: str) -> tuple[str, ...]:
    return _STORED_AS.get(field, (field,))


@lru_cache(maxsize=1024)
def _columns_of_all(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for name in names for column in _columns_of(name)))


def _names_that_agree(entity: type[Leased], model: type[AsyncOntologyObject]) -> tuple[str, ...]:
    """The names that field and column share. Raises ModelDiffers."""
    stored = {column.key for column in model.__mapper__.column_attrs}
    needed = {name for field in fields(entity) for name in _columns_of(field.name)}
    if stored != needed:
        raise ModelDiffers(f"{model.__name__} and {entity.__name__} differ in {', '.join(sorted(stored ^ needed))}")
    columns, values = get_type_hints(model), get_type_hints(entity)
    names = tuple(field.name for field in fields(entity) if field.name not in _STORED_AS)
    for name in names:
        [column_type] = get_args(columns[name])
        if column_type != values[name]:
            raise ModelDiffers(f"{model.__name__}.{name} holds {column_type}, {entity.__name__}.{name} {values[name]}")
    return names


PROPOSALS: EntityRows[Proposal] = EntityRows(Proposal, ProposalModel)
PLANS: EntityRows[Plan] = EntityRows(Plan, PlanModel)
