"""What every RPC asks of the call it is in."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from plangate_core.process.clock import Clock
from plangate_core.rpc.identity.caller import current_caller
from store_service.api.permissions import authorize, may_call
from store_service.commands.answer import Answer
from store_service.database.reader import Reader
from store_service.domain.actor import Actor
from store_service.domain.instant import instant_of
from store_service.engine.writer import Writer
from store_service.messages.answers import repeated_to_bytes
from store_service.messages.commands import command_from_proto, method_of, wait_seconds
from store_service.messages.decoding import actor_from_caller
from store_service.queries import Viewer

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Encoded: TypeAlias = Any
"""Bytes that are the RPC's response message, encoded: the interceptor sends them as they are."""


def allowed(request: Message) -> tuple[Actor, bool]:
    """The caller, and True if they may act only on resources that they created. Raises RoleMissing."""
    caller = current_caller()
    only_creator = authorize(method_of(request), caller.roles)
    return actor_from_caller(caller), only_creator


def viewing(request: Message, clock: Clock) -> Viewer:
    """The caller of an RPC that reads. Raises RoleMissing."""
    caller = current_caller()
    authorize(method_of(request), caller.roles)
    return Viewer(
        caller.identity,
        caller.roles,
        # A planner, or one acting in somebody's name, may stand for a model.
        may_approve=may_call("ApproveProposal", caller.roles) and "planner" not in caller.roles and not caller.via,
        now=instant_of(clock.now()),
        scope=caller.scope,
    )


class ResourceServicer:
    """What the RPCs of plans and of proposals share."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def _execute(self, request: Message, context: Context, **granted: bool) -> Answer:
        actor, only_creator = allowed(request)
        if only_creator:
            granted["only_creator"] = True
        command = command_from_proto(request, actor, **granted)
        return await self._writer.execute(command, deadline=_deadline_of(context))

    async def _write_several(self, request: Any, context: Context) -> Encoded:
        """A write that answers with what it changed as a list, its response's only field."""
        return repeated_to_bytes(1, (await self._execute(request, context)).snapshots)

    async def _claim(self, request: Any, context: Context) -> Encoded:
        """A claim, which may wait, but so that an empty answer still reaches the client."""
        actor, _ = allowed(request)
        command: Any = command_from_proto(request, actor)
        wait, remaining = wait_seconds(request), context.time_remaining()
        answer = await self._writer.execute_waiting(
            command,
            wait_seconds=wait if remaining is None else max(0.0, min(wait, remaining - 0.25)),
            deadline=_deadline_of(context),
        )
        return repeated_to_bytes(1, answer.snapshots)


def _deadline_of(context: Context) -> float | None:
    """The call's deadline in the event loop's time; None when it has none."""
    remaining: float | None = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining
