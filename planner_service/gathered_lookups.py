"""Look-ups that come close together go to the store as one call: most find nothing, and the call is what costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

FoundT = TypeVar("FoundT")

_MOST_AT_ONCE = 32
_LONGEST_WAIT_SECONDS = 0.01


@dataclass(slots=True)
class _Asked(Generic[FoundT]):
    deadline: float
    found: asyncio.Future[FoundT | None]


class GatheredLookups(Generic[FoundT]):
    """While one call is under way, what is asked for next gathers, though not for long. One event loop only.

    A look-up sees everything that was committed before it was asked for: its call starts afterwards.
    """

    def __init__(self, load: Callable[[Sequence[str], float], Awaitable[Mapping[str, FoundT]]]) -> None:
        """`load` gives what there is of those keys; the deadline is on the event loop's clock."""
        self._load = load
        self._asked: dict[str, _Asked[FoundT]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def find(self, key: str, deadline: float) -> FoundT | None:
        """What there is under the key, None when nothing is. Raises what `load` raises, and TimeoutError."""
        asked = self._asked.get(key)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[key] = _Asked(deadline, loop.create_future())
            if not self._calls or len(self._asked) >= _MOST_AT_ONCE:
                self._begin()
            elif self._timer is None:
                # A store may have a replica that hangs: a call to it must not hold up those to the others.
                self._timer = loop.call_later(_LONGEST_WAIT_SECONDS, self._begin)
        else:
            asked.deadline = max(asked.deadline, deadline)
        async with asyncio.timeout_at(deadline):
            # Others may wait for the same key: one that goes away must not take the answer with it.
            return await asyncio.shield(asked.found)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # What is asked for before it runs goes with it.
        call = asyncio.create_task(self._call())
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._asked and not self._calls:
            self._begin()

    async def _call(self) -> None:
        keys = list(self._asked)[:_MOST_AT_ONCE]
        group = {key: self._asked.pop(key) for key in keys}
        if not group:
            return
        try:
            found = await self._load(keys, max(asked.deadline for asked in group.values()))
        except Exception as problem:
            for asked in group.values():
                asked.found.set_exception(problem)
                # Whoever asked may be gone by now; asyncio would complain that nobody looked.
                asked.found.exception()
        else:
            for key, asked in group.items():
                asked.found.set_result(found.get(key))
        finally:
            for asked in group.values():
                if not asked.found.done():
                    # Cancelled: the loop is ending.
                    asked.found.cancel()
