"""What plans and proposals have in common: frozen, versioned, changed by making a new one."""

from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Self

from store_service.domain.actor import Actor
from store_service.domain.errors import VersionConflict
from store_service.domain.instant import Instant


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A thing with a version. Frozen and without slots on purpose: see `evolve`."""

    id: str
    # Starts at 1 and grows by 1 with every change.
    version: int = 1
    created_by: str = ""
    updated_by: str = ""
    create_time: Instant = 0
    update_time: Instant = 0
    # When it was soft-deleted.
    delete_time: Instant | None = None

    @classmethod
    def of(cls, **values: Any) -> Self:
        """What the constructor makes of the same values, four times as fast with 40 fields; names are not checked."""
        entity = object.__new__(cls)
        attributes = entity.__dict__
        # mypy does not see that classes can be hashed.
        attributes.update(_defaults(cls))  # type: ignore[arg-type]
        attributes.update(values)
        return entity

    def evolve(self, **changes: Any) -> Self:
        """A copy with `changes`; names are those of the fields.

        The same as dataclasses.replace, five times as fast with 40 fields: the write path makes one per command.
        """
        copy = object.__new__(type(self))
        attributes = copy.__dict__
        attributes.update(self.__dict__)
        attributes.update(changes)
        return copy

    def changed(self, actor: Actor, now: Instant, **changes: Any) -> Self:
        """The next version, changed by `actor`."""
        return self.evolve(version=self.version + 1, updated_by=actor.identity, update_time=now, **changes)

    def expect(self, expected_version: int) -> None:
        """Raises VersionConflict unless this is the version that the caller read; 0 means any."""
        if expected_version and expected_version != self.version:
            raise VersionConflict(expected_version, self.version)


@cache
def _defaults(cls: type[Entity]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for field in fields(cls):
        if field.default is not MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not MISSING:
            # One for all: entities are never changed, and neither is what they hold.
            defaults[field.name] = field.default_factory()
    return defaults
