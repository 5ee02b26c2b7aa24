"""Ending what runs beside the calls."""

from __future__ import annotations

import asyncio
from typing import Any


async def end_task(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, if there is one, and wait until it has ended. Raises what it ended with, unless it was the end."""
    if task is not None:
        await ended(task)
        if not task.cancelled():
            task.result()


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until all have ended, however that was."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        # Looked at, or the loop would complain of an exception that nobody saw.
        if not task.cancelled():
            task.exception()
