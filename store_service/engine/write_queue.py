"""The bounded queue in front of the writer."""

import asyncio
from collections import deque

from store_service.commands import Command
from store_service.commands.answer import Answer
from store_service.domain.errors import DeadlinePassed, Overloaded

# Of one batch: while it is applied nothing else is done, and on PostgreSQL its transaction holds up other stores and is
# ended after ten seconds. The largest plan alone takes about one.
ENOUGH_BYTES = 4 * 1024 * 1024


class Waiting:
    """A queued command, and the call that waits for its answer."""

    __slots__ = ("_future", "command", "deadline", "outcome", "size")

    def __init__(self, command: Command, deadline: float | None) -> None:
        """deadline: in the event loop's time."""
        self.command = command
        self.deadline = deadline
        self.size = command.size
        # Sent to the caller once the batch is committed.
        self.outcome: Answer | Exception | None = None
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def answer(self) -> Answer:
        """Waits for it. Raises what the command failed with."""
        return await self._future

    def settle(self, outcome: Answer | Exception) -> None:
        """Answers the call; no effect when it was answered before or was cancelled."""
        if self._future.done():
            return
        if isinstance(outcome, Exception):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)

    def is_wanted(self, now: float) -> bool:
        """Whether the call still waits. Fails it with DeadlinePassed when its deadline is over."""
        if self._future.done():
            return False
        if self.deadline is not None and self.deadline <= now:
            self.settle(DeadlinePassed())
            return False
        return True


class WriteQueue:
    """First in, first out; refuses what would be too much, so that memory stays bounded."""

    def __init__(self, max_waiting: int, max_bytes: int) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting, seconds_per_command: float) -> None:
        """Raises Overloaded, with the time in which those that wait will be done."""
        count = len(self._waiting)
        if count >= self._max_waiting or (count and self._bytes + waiting.size > self._max_bytes):
            raise Overloaded(count, self._max_waiting, max(0.05, round(count * seconds_per_command, 3)))
        self._waiting.append(waiting)
        self._bytes += waiting.size
        self._arrived.set()

    def wake(self) -> None:
        """Makes `arrival` return."""
        self._arrived.set()

    async def arrival(self) -> None:
        """Returns when something was put, or at once when something is there."""
        if not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    def take(self, limit: int, enough_bytes: int = ENOUGH_BYTES) -> list[Waiting]:
        """Up to `limit` commands that are still wanted, no more once they have so many bytes. Those that are not wanted
        are dropped."""
        now = asyncio.get_running_loop().time()
        taken: list[Waiting] = []
        while self._waiting and len(taken) < limit and enough_bytes > 0:
            waiting = self._waiting.popleft()
            self._bytes -= waiting.size
            if waiting.is_wanted(now):
                taken.append(waiting)
                enough_bytes -= waiting.size
        return taken
