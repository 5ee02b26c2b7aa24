"""Worker actions as the executor runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.executor.catalogue import BoundAction, BoundCatalogue, Function
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import Observer
from plangate_client.executor.executor import Executor
from plangate_client.executor.outcome import Answer, Outcome
from plangate_client.leased_worker import WorkerOptions
from plangate_client.worker.action import Call, WorkerAction
from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.contract.struct_codec import JsonObject


def bound_actions(actions: Mapping[str, WorkerAction[..., Any]]) -> dict[str, BoundAction]:
    """The actions with their compiled schemas. Raises SchemaRefused."""
    return {name: _bound(name, action) for name, action in actions.items()}


def _bound(name: str, action: WorkerAction[..., Any]) -> BoundAction:
    async def perform(proposal: proposal_pb2.Proposal, args: JsonObject, begin: Callable[[], None]) -> Outcome:
        return await action.perform(args, _call(proposal), begin)

    async def look_up(proposal: proposal_pb2.Proposal, args: JsonObject) -> Answer:
        return await action.look_up(args, _call(proposal))

    schema = ArgumentSchema(closed({"type": "object", **action.parameters}))
    function = Function(perform, look_up)
    return BoundAction(name, schema, function, reconcile=function if action.reconcile is not None else None)


def _call(proposal: proposal_pb2.Proposal) -> Call:
    return Call(proposal.id, proposal.plan_id, proposal.lease.attempt, proposal.created_by)


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
    executor = Executor(
        store,
        BoundCatalogue(Path.cwd(), bound_actions(actions)),
        ExecutionEnvironment.here(),
        options=options,
        plan_id=plan_id,
        observer=observer,
    )
    await executor.run(stop, until_idle=until_idle)
