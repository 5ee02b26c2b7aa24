"""`plangate mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.session import Session, run_async, session_of


def mcp(
    context: typer.Context,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            max=3600,
            help="Seconds that a tool call waits for its result before it is told to ask again.",
        ),
    ] = 60.0,
) -> None:
    """Serve the catalogue's actions to an agent as MCP tools on standard input and output."""
    try:
        import mcp.server.stdio  # noqa: F401 - the extra may be missing
    except ModuleNotFoundError:
        raise CommandFailed("MCP needs the extra `mcp`: pip install 'plangate[mcp]'", ExitStatus.USAGE) from None
    run_async(context, _serve(session_of(context), wait_seconds))


async def _serve(session: Session, wait_seconds: float) -> None:
    import importlib.metadata

    from mcp.server.stdio import stdio_server

    from plangate_client.mcp_server.server import Gate, build_mcp_server

    async with session.planner() as planner, session.store() as store, stdio_server() as (read, write):
        server = build_mcp_server(Gate(planner, store, wait_seconds), importlib.metadata.version("plangate"))
        await server.run(read, write, server.create_initialization_options())
