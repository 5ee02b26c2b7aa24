"""Claims that wait for work: woken when something appears that they could get, one at a time, in order of arrival.

Waking everybody for every approval would turn one approval into as many writes as there are idle executors. So one
of each kind (same actions, same plan) is woken; it claims, and if it got something it wakes the next one, until
somebody finds nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from store_service.domain.events import EntityType, Event, EventKind

# What may make a proposal claimable. An executed one frees those that depend on it, whose actions are not known here.
_PROPOSALS_READY = {
    EventKind.PROPOSAL_APPROVED.value,
    EventKind.PROPOSAL_APPROVED_BY_POLICY.value,
    EventKind.PROPOSAL_RETRIED.value,
    EventKind.PROPOSAL_EXECUTED.value,
}
_PLANS_READY = {EventKind.PLAN_CREATED.value, EventKind.PLAN_REQUEUED.value}


@dataclass(frozen=True)
class Wanted:
    """What a claim would take: plans from the queue, or proposals, of one plan when plan_id is given."""

    entity_type: EntityType
    action_names: frozenset[str] = frozenset()
    plan_id: str = ""

    def may_be(self, event: Event) -> bool:
        """Whether the event may have made something of this kind claimable."""
        if event.entity_type is not self.entity_type:
            return False
        if self.entity_type is EntityType.PLAN:
            return event.kind in _PLANS_READY
        return event.kind in _PROPOSALS_READY and (not self.plan_id or self.plan_id == event.plan_id)


class WaitingClaims:
    """Who waits for what. One event loop only."""

    def __init__(self, *, recheck_seconds: float = 1.0) -> None:
        """`recheck_seconds`: how often one of each kind looks by itself, for work that appears without an event (a
        pause that is over, another process's commits)."""
        self._recheck_seconds = recheck_seconds
        # Values are in order of arrival.
        self._waiting: dict[Wanted, OrderedDict[asyncio.Future[None], None]] = {}
        self._closed = False
        self._recheck: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Wake everybody for good: the server drains, and nothing more is worth waiting for."""
        self._closed = True
        if self._recheck:
            self._recheck.cancel()
            self._recheck = None
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def appended(self, events: Sequence[Event]) -> None:
        """Wake those whom these events may concern."""
        if self._waiting:
            for wanted in list(self._waiting):
                if any(wanted.may_be(event) for event in events):
                    self._wake_one(wanted)

    async def claim(
        self, wanted: Wanted, attempt: Callable[[], Awaitable[list[bytes]]], wait_seconds: float
    ) -> list[bytes]:
        """Attempt until there is something, at most for wait_seconds; returns what was claimed last, maybe nothing."""
        if wait_seconds <= 0:
            return await attempt()
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            # Entered before the attempt: what appears while it runs is not missed.
            ticket = self._enter(wanted)
            try:
                claimed = await attempt()
                if claimed:
                    self._leave(wanted, ticket)
                    self._wake_one(wanted)
                    return claimed
                if self._closed:
                    return []
                async with asyncio.timeout_at(deadline):
                    await ticket
            except TimeoutError:
                return []
            except BaseException:
                if ticket.done() and not ticket.cancelled():
                    # Woken and cancelled at once: the wake must not be lost with it.
                    self._leave(wanted, ticket)
                    self._wake_one(wanted)
                raise
            finally:
                self._leave(wanted, ticket)

    def _enter(self, wanted: Wanted) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        ticket: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(wanted, OrderedDict())[ticket] = None
        if self._recheck is None and not self._closed:
            self._recheck = loop.call_later(self._recheck_seconds, self._look_again)
        return ticket

    def _leave(self, wanted: Wanted, ticket: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(wanted)
        if waiting is not None:
            waiting.pop(ticket, None)
            if not waiting:
                del self._waiting[wanted]

    def _wake_one(self, wanted: Wanted) -> None:
        for ticket in self._waiting.get(wanted, ()):
            if not ticket.done():
                ticket.set_result(None)
                return

    def _look_again(self) -> None:
        self._recheck = None
        for wanted in list(self._waiting):
            self._wake_one(wanted)
        if self._waiting and not self._closed:
            self._recheck = asyncio.get_running_loop().call_later(self._recheck_seconds, self._look_again)
