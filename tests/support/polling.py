"""Waiting for a condition without guessing how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], bool], *, timeout_seconds: float = 10.0) -> None:
    """Return once the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind have no event to wait for
            await asyncio.sleep(0.002)


async def eventually(find: Callable[[], Awaitable[T]], *, timeout_seconds: float = 30.0) -> T:
    """Call until what it returns is true, and return that. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while not (found := await find()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        return found
