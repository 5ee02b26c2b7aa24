"""The calls in flight of a server: their limit, and their end when the server drains.

grpc.aio's own limit has underflowed (grpc#41531) and its stop() can return while handlers still run (grpc#37239), so
the server counts its calls itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import grpc

from plangate_core.rpc.status import RpcFailure
from plangate_core.rpc.telemetry import RpcMetrics


def draining() -> RpcFailure:
    """UNAVAILABLE: the server shuts down; another replica, or this one a little later, takes the call."""
    return RpcFailure(grpc.StatusCode.UNAVAILABLE, "DRAINING", "the server is shutting down", retry_after_seconds=1.0)


class CallsInFlight:
    """Tasks of calls, by kind. One event loop only."""

    def __init__(self, *, max_unary: int, max_streams: int, metrics: RpcMetrics | None = None) -> None:
        self._max_unary = max_unary
        self._max_streams = max_streams
        self._metrics = metrics
        self._unary: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()
        self._exempt: set[asyncio.Task[Any]] = set()
        self._ended_by_us: set[asyncio.Task[Any]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False
        self._refused_at = 0.0

    def begin(self, task: asyncio.Task[Any], *, stream: bool, endless: bool, exempt: bool) -> None:
        """Enter a call. Raises RpcFailure DRAINING or OVERLOADED. Exempt calls (health) are never refused and nobody
        waits for them: their watchers stay to the end, to see NOT_SERVING."""
        if exempt:
            self._exempt.add(task)
            return
        calls, limit = (self._streams, self._max_streams) if stream else (self._unary, self._max_unary)
        if self.draining:
            self._refused_at = time.monotonic()
            raise draining()
        if len(calls) >= limit:
            raise RpcFailure(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "OVERLOADED",
                "the server is at its limit of calls at once",
                metadata={"limit": str(limit)},
                retry_after_seconds=0.2,
            )
        calls.add(task)
        if endless:
            self._endless.add(task)
        self._empty.clear()
        if self._metrics is not None:
            self._metrics.count_in_flight("stream" if stream else "unary", len(calls))

    def end(self, task: asyncio.Task[Any], *, stream: bool) -> None:
        """Leave; also right for calls that begin() refused."""
        calls = self._streams if stream else self._unary
        calls.discard(task)
        self._endless.discard(task)
        self._exempt.discard(task)
        self._ended_by_us.discard(task)
        if not self._unary and not self._streams:
            self._empty.set()
        if self._metrics is not None:
            self._metrics.count_in_flight("stream" if stream else "unary", len(calls))

    def was_ended_by_us(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task's cancellation came from cancel_endless() or cancel_all(), not from the client."""
        return task in self._ended_by_us

    def cancel_endless(self) -> None:
        """End the streams that would never end by themselves."""
        self._cancel(self._endless)

    def cancel_all(self) -> None:
        """End everything."""
        self._cancel(self._unary | self._streams | self._exempt)

    def _cancel(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        for task in tasks:
            if task not in self._ended_by_us:
                self._ended_by_us.add(task)
                task.cancel()

    async def wait_until_quiet(self, quiet_seconds: float, timeout_seconds: float) -> None:
        """While draining: wait until no call was refused for quiet_seconds. Those that have arrived but were not looked
        at when the port closes would end as CANCELLED, which clients do not repeat."""
        end = time.monotonic() + timeout_seconds
        until = time.monotonic() + quiet_seconds
        while (now := time.monotonic()) < min(until, end):
            await asyncio.sleep(min(until, end) - now)
            until = max(until, self._refused_at + quiet_seconds)

    async def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait until no call is left. Returns False when time ran out first."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True
