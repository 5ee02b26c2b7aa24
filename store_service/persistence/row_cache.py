"""Entities as they were last committed, so that a batch need not read what this process wrote."""

from collections.abc import Callable
from typing import Generic, TypeVar

from store_service.domain.entity import Entity

E = TypeVar("E", bound=Entity)


class RowCache(Generic[E]):
    """The most recently written entities, within a bound of bytes.

    Right only while nobody else writes (a SQLite file under its lock), filled only after a commit returned, and emptied
    whenever it is not certain what the database holds. Entities are frozen, so they can be shared.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[E], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        # Oldest first: a dict keeps the order of insertion.
        self._entities: dict[str, tuple[E, int]] = {}
        self._bytes = 0

    def get(self, entity_id: str) -> E | None:
        """The entity, if it is remembered."""
        entry = self._entities.get(entity_id)
        return None if entry is None else entry[0]

    def keep(self, entity: E) -> None:
        """Remembers what was committed."""
        self.forget(entity.id)
        size = self._size_of(entity)
        self._entities[entity.id] = (entity, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self.forget(next(iter(self._entities)))

    def forget(self, entity_id: str) -> None:
        """Drops one."""
        entry = self._entities.pop(entity_id, None)
        if entry is not None:
            self._bytes -= entry[1]

    def clear(self) -> None:
        """Drops everything."""
        self._entities.clear()
        self._bytes = 0
