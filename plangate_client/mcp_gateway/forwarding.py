"""Another MCP server's tools as actions: an approved proposal is carried out by calling the tool with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent, Tool
from plangate.store.v1 import proposal_pb2

from plangate_client.executor.catalogue import BoundAction, Function
from plangate_client.executor.outcome import Outcome
from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.contract.struct_codec import JsonObject
from plangate_core.text.truncation import truncate

_TEXT_CHARACTERS = 16_000
_MESSAGE_CHARACTERS = 1_000


async def all_tools(client: Client) -> list[Tool]:
    """Every tool of the server, page by page."""
    tools: list[Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools.extend(page.tools)
        cursor = page.next_cursor
        if not cursor:
            return tools


def bound_tools(client: Client, tools: Iterable[Tool]) -> dict[str, BoundAction]:
    """The tools as actions an executor can carry out. Raises SchemaRefused."""
    return {tool.name: _bound(client, tool) for tool in tools}


def _bound(client: Client, tool: Tool) -> BoundAction:
    async def perform(_: proposal_pb2.Proposal, args: JsonObject, begin: Callable[[], None]) -> Outcome:
        """Call the tool; an error that it returns is a failed execution."""
        begin()
        try:
            result = await client.call_tool(tool.name, dict(args))
        except MCPError as error:
            return Outcome(reason="TOOL_REFUSED", message=truncate(error.message, _MESSAGE_CHARACTERS))
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        if result.is_error:
            return Outcome(reason="TOOL_FAILED", message=truncate(text, _MESSAGE_CHARACTERS))
        answer: JsonObject = {"text": truncate(text, _TEXT_CHARACTERS)}
        if isinstance(result.structured_content, dict):
            answer["structured"] = result.structured_content
        return Outcome(result=answer)

    schema = ArgumentSchema(closed({"type": "object", **tool.input_schema}))
    return BoundAction(tool.name, schema, Function(perform))
