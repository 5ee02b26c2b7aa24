"""Catalogues made of what others describe their tools with: MCP tool lists, OpenAPI files, function definitions."""
