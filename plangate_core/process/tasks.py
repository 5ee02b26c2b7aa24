"""Cancelling background tasks."""

from __future__ import annotations

import asyncio
from typing import Any


async def stop_task(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, if there is one, and wait for it. Re-raises the task's exception; cancellation is swallowed."""
    if task is not None:
        await cancel_and_wait(task)
        if not task.cancelled():
            task.result()


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until all are done, with or without an exception."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        # Retrieved, or the loop would log "exception was never retrieved".
        if not task.cancelled():
            task.exception()
