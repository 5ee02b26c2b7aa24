"""Point reads that arrive together are read together: while one statement is under way, the next one's ids gather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

_MOST_AT_ONCE = 100


class GatheredGets:
    """A get sees everything that was committed before it was asked for: its statement starts afterwards."""

    def __init__(self, load: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]) -> None:
        """`load` reads those of the ids that exist."""
        self._load = load
        self._waiting: dict[str, asyncio.Future[bytes | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, resource_id: str) -> bytes | None:
        """The resource, or None. Raises what `load` raises."""
        future = self._waiting.get(resource_id)
        if future is None:
            future = self._waiting[resource_id] = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._run())
        # Others may wait for the same id: one that goes away must not take the answer with it.
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                ids = list(self._waiting)[:_MOST_AT_ONCE]
                futures = {resource_id: self._waiting.pop(resource_id) for resource_id in ids}
                try:
                    found = await self._load(ids)
                except Exception as problem:
                    for future in futures.values():
                        future.set_exception(problem)
                        # Whoever asked may be gone by now; asyncio would complain that nobody looked.
                        future.exception()
                else:
                    for resource_id, future in futures.items():
                        future.set_result(found.get(resource_id))
        finally:
            self._task = None
