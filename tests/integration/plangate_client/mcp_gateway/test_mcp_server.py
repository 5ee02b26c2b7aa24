"""`plangate mcp` driven by a real MCP client over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from plangate.store.v1 import proposal_pb2

from tests.support.pair import Pair, clean_environment, running_pair
from tests.support.polling import eventually

CATALOGUE = """
version: 1
actions:
  - name: read_note
    description: Read a note.
    risk: low
    parameters:
      properties: {name: {type: string}}
      required: [name]
    policy: {effect: allow}
    command: {argv: [echo, "note {args.name}"]}
  - name: delete_note
    description: Delete a note.
    parameters:
      properties: {name: {type: string}}
      required: [name]
    policy: {effect: require_approval, approvals: 1}
    command: {argv: [echo, "deleted {args.name}"]}
  - name: wipe_disk
    description: Wipe the disk.
    parameters: {properties: {}}
    policy: {effect: deny, reason: never}
"""


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


def agent(pair: Pair, *options: str) -> Client:
    """An MCP client that runs `plangate mcp` as its server."""
    environment = {
        **clean_environment(),
        "PLANGATE_STORE_TARGET": pair.store_address,
        "PLANGATE_PLANNER_TARGET": pair.planner_address,
        "PLANGATE_ACTOR": "agent",
    }
    arguments = ["-m", "plangate_client", "mcp", "serve", *options]
    return Client(stdio_client(StdioServerParameters(command=sys.executable, args=arguments, env=environment)))


@contextlib.asynccontextmanager
async def executor(pair: Pair) -> AsyncIterator[None]:
    process = await pair.start_command("work", actor="worker")
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def only_proposal(pair: Pair) -> proposal_pb2.Proposal:
    async with pair.store() as store:
        [proposal] = [proposal async for proposal in store.proposals.list_all()]
        return proposal


async def proposal_in(pair: Pair, state: proposal_pb2.ProposalState.ValueType) -> proposal_pb2.Proposal:
    async with pair.store() as store:

        async def found() -> list[proposal_pb2.Proposal]:
            return [proposal async for proposal in store.proposals.list_all() if proposal.state == state]

        [proposal] = await eventually(found)
        return proposal


@pytest.mark.asyncio
async def test_tools_are_the_actions(pair: Pair) -> None:
    async with agent(pair) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"read_note", "delete_note", "wipe_disk", "plangate_result", "plangate_cancel"} == tools.keys()
    assert tools["read_note"].input_schema["required"] == ["name"]


@pytest.mark.asyncio
async def test_an_allowed_call_returns_the_result(pair: Pair) -> None:
    progress: list[str | None] = []

    async def on_progress(_: float, __: float | None, message: str | None) -> None:
        progress.append(message)

    async with executor(pair), agent(pair) as client:
        result = await client.call_tool("read_note", {"name": "a"}, progress_callback=on_progress)
    assert not result.is_error
    assert result.structured_content["state"] == "EXECUTED"
    assert result.structured_content["result"]["stdout"] == "note a\n"
    assert progress
    assert (await only_proposal(pair)).created_by == "agent"


@pytest.mark.asyncio
async def test_a_call_waits_for_the_approval(pair: Pair) -> None:
    async with executor(pair), agent(pair) as client:
        calling = asyncio.create_task(client.call_tool("delete_note", {"name": "a"}))
        waiting = await proposal_in(pair, proposal_pb2.PROPOSAL_STATE_PENDING)
        async with pair.store("bob") as store:
            await store.proposals.approve(waiting.id, expected_version=waiting.version)
        result = await calling
    assert result.structured_content["result"]["stdout"] == "deleted a\n"


@pytest.mark.asyncio
async def test_a_call_that_waits_too_long_is_asked_after(pair: Pair) -> None:
    async with executor(pair), agent(pair, "--wait", "0.2") as client:
        first = await client.call_tool("delete_note", {"name": "a"})
        assert not first.is_error
        assert first.structured_content["state"] == "PENDING"
        proposal_id = first.structured_content["proposal_id"]
        assert proposal_id in first.content[0].text
        assert "1 approval" in first.content[0].text
        async with pair.store("bob") as store:
            await store.proposals.approve(proposal_id, expected_version=1)

        async def result() -> Any:
            return (await client.call_tool("plangate_result", {"proposal_id": proposal_id})).structured_content

        async def done() -> bool:
            return bool((await result())["state"] == "EXECUTED")

        await eventually(done)
        assert (await result())["result"]["stdout"] == "deleted a\n"
    assert (await only_proposal(pair)).id == proposal_id


@pytest.mark.asyncio
async def test_a_denied_call_is_an_error_and_stores_no_proposal(pair: Pair) -> None:
    async with agent(pair) as client:
        result = await client.call_tool("wipe_disk", {})
    assert result.is_error
    assert "never" in result.content[0].text
    async with pair.store() as store:
        assert [proposal async for proposal in store.proposals.list_all()] == []


@pytest.mark.asyncio
async def test_wrong_arguments_and_unknown_names_are_errors_that_say_why(pair: Pair) -> None:
    async with agent(pair) as client:
        wrong = await client.call_tool("read_note", {"name": 1})
        unknown = await client.call_tool("no_such_action", {})
        missing = await client.call_tool("plangate_result", {})
        not_there = await client.call_tool("plangate_result", {"proposal_id": "nothing"})
    assert [result.is_error for result in (wrong, unknown, missing, not_there)] == [True] * 4
    assert "name" in wrong.content[0].text
    assert "no_such_action" in unknown.content[0].text
    assert "proposal_id" in missing.content[0].text


@pytest.mark.asyncio
async def test_a_rejected_call_says_who_and_why(pair: Pair) -> None:
    async with agent(pair) as client:
        calling = asyncio.create_task(client.call_tool("delete_note", {"name": "a"}))
        waiting = await proposal_in(pair, proposal_pb2.PROPOSAL_STATE_PENDING)
        async with pair.store("bob") as store:
            await store.proposals.reject(waiting.id, expected_version=waiting.version, reason="still needed")
        result = await calling
    assert result.is_error
    assert "still needed" in result.content[0].text


@pytest.mark.asyncio
async def test_cancelling_the_call_cancels_the_proposal(pair: Pair) -> None:
    async with agent(pair) as client:
        calling = asyncio.create_task(client.call_tool("delete_note", {"name": "a"}))
        await proposal_in(pair, proposal_pb2.PROPOSAL_STATE_PENDING)
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        cancelled = await proposal_in(pair, proposal_pb2.PROPOSAL_STATE_CANCELLED)
    assert "agent" in cancelled.failure.message


@pytest.mark.asyncio
async def test_the_cancel_tool_withdraws_the_call(pair: Pair) -> None:
    async with agent(pair, "--wait", "0") as client:
        first = await client.call_tool("delete_note", {"name": "a"})
        proposal_id = first.structured_content["proposal_id"]
        result = await client.call_tool("plangate_cancel", {"proposal_id": proposal_id})
    assert result.structured_content["state"] == "CANCELLED"
