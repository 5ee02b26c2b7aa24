"""Wakes waiting claims: one per plan or proposal that became claimable."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from store_service.commands.working_set import ReadyQuery
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

Wanted: TypeAlias = ReadyQuery | None
"""What a waiting claim asks for: proposals that match, or queued plans when it is None."""


class Waiter:
    """A waiting claim. A signal that comes between two waits is not lost."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.signal = asyncio.Event()

    def fits(self, entity: Plan | Proposal) -> bool:
        """Whether the entity is what the claim asks for."""
        if isinstance(entity, Plan):
            return self.wanted is None
        return self.wanted is not None and self.wanted.matches(entity)

    async def wait(self, timeout_seconds: float) -> None:
        """Returns when there may be something to claim, or when the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.signal.wait()
        except TimeoutError:
            return
        self.signal.clear()


class WorkSignals:
    """Wakes one waiter per claimable thing, the one who waits longest first: a crowd would find nothing."""

    def __init__(self) -> None:
        self._waiters: dict[Waiter, None] = {}

    @contextmanager
    def waiter(self, wanted: Wanted) -> Iterator[Waiter]:
        """Registers a waiter. Look for something to claim after this, not before: else a signal can be missed."""
        waiter = Waiter(wanted)
        self._waiters[waiter] = None
        try:
            yield waiter
        finally:
            del self._waiters[waiter]
            if waiter.signal.is_set():
                # Woken, but gone (cancelled) before it looked: the next one shall look.
                self._wake(lambda other: True)

    @property
    def awaited(self) -> bool:
        """Whether any claim waits."""
        return bool(self._waiters)

    def wanted(self) -> Counter[Wanted]:
        """What is waited for, and by how many who were not woken yet."""
        return Counter(waiter.wanted for waiter in self._waiters if not waiter.signal.is_set())

    def announce(self, claimable: Iterable[Plan | Proposal]) -> None:
        """Wakes a waiter for each."""
        for entity in claimable:
            self._wake(lambda waiter, entity=entity: waiter.fits(entity))  # type: ignore[misc]

    def wake_all(self) -> None:
        """Wakes all waiters."""
        for waiter in self._waiters:
            waiter.signal.set()

    def _wake(self, chosen: Callable[[Waiter], bool]) -> None:
        for waiter in self._waiters:
            if not waiter.signal.is_set() and chosen(waiter):
                waiter.signal.set()
                return
