"""Point reads that arrive together are one statement: while one is under way, the ids for the next one gather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

_MAX_IDS = 100


class GatheredReads:
    """A read sees everything that was committed before it was called: its statement starts afterwards."""

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
        # Several calls may wait for one id: a cancelled one must not cancel the others.
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                ids = list(self._waiting)[:_MAX_IDS]
                futures = {resource_id: self._waiting.pop(resource_id) for resource_id in ids}
                try:
                    found = await self._load(ids)
                except Exception as problem:
                    for future in futures.values():
                        future.set_exception(problem)
                        # All its calls may be cancelled: asyncio would log an exception that was never retrieved.
                        future.exception()
                else:
                    for resource_id, future in futures.items():
                        future.set_result(found.get(resource_id))
        finally:
            self._task = None
