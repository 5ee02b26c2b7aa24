"""Running actions against a store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plangate_client.client import StoreClient
from plangate_client.executor.catalogue import BoundCatalogue
from plangate_client.executor.execution import Observer
from plangate_client.executor.executor import Executor
from plangate_client.executor.values import ExecutionEnvironment
from plangate_client.leased_queue import WorkerOptions
from plangate_client.worker.action import WorkerAction
from plangate_client.worker.binding import bound_actions


async def run(
    store: StoreClient,
    actions: Mapping[str, WorkerAction[..., Any]],
    stop: asyncio.Event,
    *,
    options: WorkerOptions | None = None,
    observer: Observer | None = None,
    plan_id: str = "",
    until_idle: bool = False,
) -> None:
    """Carry out approved proposals of these actions until `stop` is set, as `plangate work --worker` does.

    :param plan_id: only proposals of this plan; empty means of any.
    :param until_idle: also stop when nothing can be claimed and nothing runs.
    :raises PlangateError: the store refuses the worker (no role, wrong token).
    """
    here = Path.cwd()
    executor = Executor(
        store,
        BoundCatalogue(here, bound_actions(actions)),
        ExecutionEnvironment(dict(os.environ), here, sys.executable, here),
        options=options,
        plan_id=plan_id,
        observer=observer,
    )
    await executor.run(stop, until_idle=until_idle)
