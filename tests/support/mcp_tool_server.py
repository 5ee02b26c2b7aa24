"""An MCP server with three tools, as a program: `python -m tests.support.mcp_tool_server FILE` writes calls to FILE."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("notes")


@server.tool()
def write_note(name: str, text: str) -> dict[str, str]:
    """Write a note."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{name}={text}\n")
    return {"written": name}


@server.tool()
def break_note(name: str) -> str:
    """Fail."""
    raise ToolError(f"no note {name}")


if __name__ == "__main__":
    server.run("stdio")
