"""An MCP server whose tools are the catalogue's actions: an agent's tool call becomes a governed proposal."""
