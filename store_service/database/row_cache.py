"""Entities as they were last committed, so that a batch need not read what this process wrote."""

from collections.abc import Callable
from typing import Generic, TypeVar

from store_service.commands.working_set import WorkingSet
from store_service.domain.entity import Entity
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

E = TypeVar("E", bound=Entity)


class RowCache(Generic[E]):
    """The most recently written entities, within a bound of bytes. They are frozen, so they can be shared."""

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

    def small(self, entity_id: str, max_bytes: int) -> E | None:
        """The entity, if it is remembered and not larger."""
        entry = self._entities.get(entity_id)
        return None if entry is None or entry[1] > max_bytes else entry[0]

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


class CommittedRows:
    """Plans and proposals as this process last committed them.

    Right only while nobody else writes (a SQLite file under its lock): elsewhere give it no bytes, and it remembers
    nothing. Filled only after a commit returned, emptied whenever it is not certain what the database holds.
    """

    def __init__(self, max_bytes: int) -> None:
        self.proposals: RowCache[Proposal] = RowCache(max_bytes * 3 // 4, _proposal_bytes)
        self.plans: RowCache[Plan] = RowCache(max_bytes // 4, _plan_bytes)
        self._remembers = max_bytes > 0

    def keep(self, committed: WorkingSet) -> None:
        """Remembers what a committed batch changed."""
        if not self._remembers:
            return
        for proposal_id, proposal in committed.changed_proposals.items():
            if proposal is None:
                self.proposals.forget(proposal_id)
            else:
                self.proposals.keep(proposal)
        for plan_id, plan in committed.changed_plans.items():
            if plan is None:
                self.plans.forget(plan_id)
            else:
                self.plans.keep(plan)

    def forget(self, changed: WorkingSet) -> None:
        """Drops what a batch is about to change."""
        for proposal_id in changed.changed_proposals:
            self.proposals.forget(proposal_id)
        for plan_id in changed.changed_plans:
            self.plans.forget(plan_id)

    def clear(self) -> None:
        """Drops everything."""
        self.proposals.clear()
        self.plans.clear()


def _proposal_bytes(proposal: Proposal) -> int:
    # The object and its short values take about 2 KB.
    return 2048 + len(proposal.args_json) + len(proposal.description) + len(proposal.result_json or "")


def _plan_bytes(plan: Plan) -> int:
    jobs = sum(1024 + len(job.args_json) for job in plan.jobs)
    return 2048 + len(plan.prompt) + len(plan.context_json) + len(plan.generation or b"") + jobs
