"""Waking those who wait for something to claim, when this process made it claimable."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

Wanted: TypeAlias = Callable[[Plan | Proposal], bool]


class Waiter:
    """One who waits. Signals that come between two waits are not lost."""

    def __init__(self, wants: Wanted) -> None:
        self.wants = wants
        self.signal = asyncio.Event()

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
    def waiter(self, wants: Wanted) -> Iterator[Waiter]:
        """Registers a waiter. Look for something to claim after this, not before: else a signal can be missed."""
        waiter = Waiter(wants)
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
        """Whether anybody waits."""
        return bool(self._waiters)

    def announce(self, claimable: Iterable[Plan | Proposal]) -> None:
        """Wakes a waiter for each."""
        for entity in claimable:
            self._wake(lambda waiter, entity=entity: waiter.wants(entity))  # type: ignore[misc]

    def wake_all(self) -> None:
        """Wakes everybody."""
        for waiter in self._waiters:
            waiter.signal.set()

    def _wake(self, chosen: Callable[[Waiter], bool]) -> None:
        for waiter in self._waiters:
            if not waiter.signal.is_set() and chosen(waiter):
                waiter.signal.set()
                return
