"""Tool lists: MCP's `tools/list`, OpenAI's function definitions, Anthropic's tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plangate_core.catalogue.importing.imported import Imported, ImportRefused, texts

_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_SCHEMA_FIELDS = ("inputSchema", "input_schema", "parameters")


def tool_entries(document: Any) -> list[Any] | None:
    """The list of tools in a document, however it is wrapped; None when it is no such document."""
    if isinstance(document, Mapping):
        for key in ("result", "tools", "functions"):
            if key in document:
                return tool_entries(document[key])
        return [document] if _looks_like_tool(document) else None
    if isinstance(document, list) and any(map(_looks_like_tool, document)):
        return document
    return None


def import_tools(entries: list[Any]) -> Imported:
    """The tools as actions. Raises ImportRefused for a list that is none of tools."""
    imported = Imported()
    for index, entry in enumerate(entries):
        tool = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
            raise ImportRefused(f"entry {index + 1} is no tool: it has no name")
        name = tool["name"]
        if entry.get("type", "function") not in ("function", "custom"):
            imported.left_out.append(f"left out {name}: a tool of the type {entry['type']!r} is the provider's own")
            continue
        parameters: dict[str, Any] = next((tool[key] for key in _SCHEMA_FIELDS if isinstance(tool.get(key), dict)), {})
        annotations = tool.get("annotations")
        described = next(texts(tool.get("description"), tool.get("title")), "")
        hints = annotations if isinstance(annotations, Mapping) else {}
        given = {hint: hints[hint] for hint in _HINTS if isinstance(hints.get(hint), bool)}
        risk = "high" if given.get("destructiveHint") else None
        imported.add(name, described, parameters, risk=risk, comment=_comment(given))
    return imported


def _looks_like_tool(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    tool = entry.get("function", entry)
    return (
        isinstance(tool, Mapping)
        and "name" in tool
        and ("description" in tool or bool(set(_SCHEMA_FIELDS) & tool.keys()))
    )


def _comment(hints: Mapping[str, bool]) -> str:
    """What the server says of its tool. It is a comment: a server that is not trusted must not make policy lenient."""
    stated = ", ".join(f"{hint}: {str(value).lower()}" for hint, value in hints.items())
    return f"Its server says {stated}." if stated else ""
