"""What every RPC asks of the call it is in."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeAlias

import grpc

from plangate_core.process.clock import Clock
from plangate_core.rpc.identity.caller import current_caller
from store_service.api.permissions import authorize, may_call
from store_service.commands import ClaimPlans, ClaimProposals, Command
from store_service.commands.answer import Answer
from store_service.domain.actor import Actor
from store_service.domain.instant import instant_of
from store_service.messages.decoding import actor_from_caller
from store_service.queries import Viewer

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Encoded: TypeAlias = Any
"""Bytes that are the RPC's response message, encoded: the interceptor sends them as they are."""


class Writes(Protocol):
    """What servicers need of the writer in store_service.engine."""

    async def execute(self, command: Command, *, deadline: float | None = None) -> Answer: ...

    async def execute_waiting(
        self, command: ClaimProposals | ClaimPlans, *, wait_seconds: float, deadline: float | None = None
    ) -> Answer: ...


def allowed(method: str) -> tuple[Actor, bool]:
    """The caller, and True if they may act only on resources that they created. Raises RoleMissing."""
    caller = current_caller()
    only_creator = authorize(method, caller.roles)
    return actor_from_caller(caller), only_creator


def viewing(method: str, clock: Clock) -> Viewer:
    """The caller of an RPC that reads. Raises RoleMissing."""
    caller = current_caller()
    authorize(method, caller.roles)
    return Viewer(
        caller.identity,
        caller.roles,
        # A planner, or one acting in somebody's name, may stand for a model.
        may_approve=may_call("ApproveProposal", caller.roles) and "planner" not in caller.roles and not caller.via,
        now=instant_of(clock.now()),
        scope=caller.scope,
    )


def deadline_of(context: Context) -> float | None:
    """The call's deadline in the event loop's time; None when it has none."""
    remaining: float | None = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def waiting_time(wanted_seconds: float, context: Context) -> float:
    """How long a claim may wait: as requested, but so that an empty answer still reaches the client."""
    remaining: float | None = context.time_remaining()
    return wanted_seconds if remaining is None else max(0.0, min(wanted_seconds, remaining - 0.25))
