"""MCP both ways: a server whose tools are the actions, and approved calls forwarded to other MCP servers."""
