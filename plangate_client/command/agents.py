"""`plangate mcp`: to agents as an MCP server, and to other MCP servers as the executor of what was approved."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.console import stderr
from plangate_client.command.session import Session, run_async, session_of

if TYPE_CHECKING:
    from mcp.client.client import Client

group = typer.Typer(
    name="mcp", no_args_is_help=True, rich_markup_mode=None, help="Agents and tools by the Model Context Protocol."
)

_Upstream = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND...", help="Starts the MCP server whose tools are meant; write -- before it."),
]
_Url = Annotated[str, typer.Option("--url", metavar="URL", help="The MCP server's address, instead of a command.")]


@group.command()
def serve(
    context: typer.Context,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            max=3600,
            help="Seconds that a tool call waits before it is answered with what it waits for.",
        ),
    ] = 60.0,
) -> None:
    """Serve the catalogue's actions to an agent as MCP tools, on standard input and output."""
    _need_mcp()
    run_async(context, _serve(session_of(context), wait_seconds))


@group.command()
def tools(context: typer.Context, command: _Upstream = None, url: _Url = "") -> None:
    """Print the tools of an MCP server as JSON, for `plangate catalogue import`."""
    _need_mcp()
    run_async(context, _tools(_upstream(command, url)))


@group.command()
def work(context: typer.Context, command: _Upstream = None, url: _Url = "") -> None:
    """Carry out approved proposals whose actions are the tools of an MCP server, by calling them."""
    _need_mcp()
    run_async(context, _work(session_of(context), _upstream(command, url)))


def _need_mcp() -> None:
    try:
        import mcp.server.stdio  # noqa: F401 - the extra may be missing
    except ModuleNotFoundError:
        raise CommandFailed("MCP needs the extra `mcp` (in a clone: pip install '.[mcp]')", ExitStatus.USAGE) from None


def _upstream(command: list[str] | None, url: str) -> Client:
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    if bool(command) == bool(url):
        raise CommandFailed("which MCP server? Give --url URL, or -- COMMAND...", ExitStatus.USAGE)
    if command:
        return Client(stdio_client(StdioServerParameters(command=command[0], args=command[1:])))
    return Client(url)


async def _serve(session: Session, wait_seconds: float) -> None:
    import importlib.metadata

    from mcp.server.stdio import stdio_server

    from plangate_client.mcp_gateway.server import Gate, build_mcp_server

    async with session.planner() as planner, session.store() as store, stdio_server() as (read, write):
        server = build_mcp_server(Gate(planner, store, wait_seconds), importlib.metadata.version("plangate"))
        await server.run(read, write, server.create_initialization_options())


async def _tools(upstream: Client) -> None:
    import json

    from plangate_client.mcp_gateway.forwarding import all_tools

    async with upstream as client:
        listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in await all_tools(client)]
    print(json.dumps({"tools": listed}, ensure_ascii=False, indent=2))


async def _work(session: Session, upstream: Client) -> None:
    from plangate_client.command.output.execution_view import execution_view
    from plangate_client.executor.catalogue import BoundCatalogue
    from plangate_client.executor.environment import ExecutionEnvironment
    from plangate_client.executor.execution import Observer
    from plangate_client.executor.executor import Executor
    from plangate_client.mcp_gateway.forwarding import all_tools, bound_tools
    from plangate_core.catalogue.schema_bounds import SchemaRefused

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with upstream as client, session.store() as store:
        try:
            actions = bound_tools(client, await all_tools(client))
        except SchemaRefused as error:
            raise CommandFailed(f"a tool's schema cannot be used: {error}") from error
        here = Path.cwd()
        executor = Executor(
            store,
            BoundCatalogue(here, actions),
            ExecutionEnvironment({}, here, "", here),
            observer=Observer(ended=lambda execution: stderr().print(execution_view(execution))),
        )
        stderr().print(f"carries out by calling tools: {', '.join(sorted(actions))}", style="dim")
        await executor.run(stop)
