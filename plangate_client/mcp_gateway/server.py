"""The MCP server: every tool call is submitted as a plan of one job, under the credentials of the server's process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import PlannerClient, StoreClient
from plangate_client.errors import PlangateError, Unavailable, WatchTooSlow
from plangate_client.mcp_gateway.tools import (
    CANCEL_TOOL,
    RESULT_TOOL,
    denied_result,
    error_result,
    proposal_result,
    tools_of,
)
from plangate_client.outlook.dependencies import FINAL_STATES, next_step
from plangate_core.contract.struct_codec import StructRefused, json_to_struct

_PROGRESS_SECONDS = 5.0
_CANCEL_SECONDS = 5.0
_LABELS = {"source": "mcp"}

Report: TypeAlias = Callable[[proposal_pb2.Proposal], Awaitable[None]]
"""Tells the caller of a tool how far its proposal is."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The two services that a tool call goes through.

    wait_seconds: how long a call waits for its proposal to end before it is answered with what it waits for.
    """

    planner: PlannerClient
    store: StoreClient
    wait_seconds: float = 60.0

    async def call(self, name: str, arguments: dict[str, Any], report: Report) -> CallToolResult:
        """Request an action, or ask after an earlier request. Refusals are results with `is_error`."""
        try:
            if name in (RESULT_TOOL, CANCEL_TOOL):
                proposal_id = arguments.get("proposal_id")
                if not isinstance(proposal_id, str) or not proposal_id:
                    return error_result("proposal_id is needed: the one that the earlier call returned")
                if name == CANCEL_TOOL:
                    return proposal_result(await self.store.proposals.cancel(proposal_id, reason="withdrawn by agent"))
                return proposal_result(await self._until_ended(proposal_id, report))
            return await self._request(name, arguments, report)
        except PlangateError as error:
            # The plan has this one job, which the agent knows as its tool call.
            message = str(error).replace("jobs.0.action_args", "arguments").replace("jobs.0.action_name", name)
            return error_result(message, error.reason)
        except StructRefused as error:
            return error_result(str(error), "INVALID_ARGUMENT")

    async def _request(self, action_name: str, arguments: dict[str, Any], report: Report) -> CallToolResult:
        job = plan_pb2.Job(action_name=action_name, action_args=json_to_struct(arguments, "arguments"))
        # Shielded: a call that is cancelled meanwhile must know which proposal to cancel.
        with anyio.CancelScope(shield=True):
            plan = await self.planner.submit_plan(f"Tool call: {action_name}", [job], labels=_LABELS)
        [submitted] = plan.jobs
        if not submitted.proposal_id:
            return denied_result(submitted)
        try:
            return proposal_result(await self._until_ended(submitted.proposal_id, report))
        except asyncio.CancelledError:
            # The agent gave the call up: nobody waits for its effect any more.
            with (
                anyio.CancelScope(shield=True),
                anyio.move_on_after(_CANCEL_SECONDS),
                contextlib.suppress(PlangateError),
            ):
                await self.store.proposals.cancel(submitted.proposal_id, reason="the agent cancelled the call")
            raise

    async def _until_ended(self, proposal_id: str, report: Report) -> proposal_pb2.Proposal:
        """The proposal when it has ended, or as it is when the waiting time is over."""
        proposal = await self.store.proposals.get(proposal_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.wait_seconds):
                while proposal.state not in FINAL_STATES:
                    async for proposal in self._versions(proposal_id):
                        await report(proposal)
                        if proposal.state in FINAL_STATES:
                            break
        return proposal

    async def _versions(self, proposal_id: str) -> AsyncGenerator[proposal_pb2.Proposal, None]:
        """The proposal at once, after each of its events, and every few seconds; ends when the watch breaks off."""
        updates = self.store.events.watch(
            filter=f'entity_id = "{proposal_id}"', progress_interval_seconds=_PROGRESS_SECONDS
        )
        try:
            async for _ in updates:
                yield await self.store.proposals.get(proposal_id)
        except (Unavailable, WatchTooSlow):
            await asyncio.sleep(_PROGRESS_SECONDS)


def build_mcp_server(gate: Gate, version: str) -> Server[Any]:
    """The MCP server over two connected clients; run it on a transport of the SDK."""

    async def list_tools(_: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools_of(await gate.planner.list_actions()))

    async def call_tool(context: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        sent = itertools.count(1)

        async def report(proposal: proposal_pb2.Proposal) -> None:
            await context.session.report_progress(float(next(sent)), message=next_step(proposal))

        return await gate.call(params.name, params.arguments or {}, report)

    return Server(
        "plangate",
        version=version,
        instructions="Every tool call is checked against policy: it is carried out at once, waits for approval, or "
        f"is denied. A call that waits is answered with a proposal_id: ask with {RESULT_TOOL}.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
