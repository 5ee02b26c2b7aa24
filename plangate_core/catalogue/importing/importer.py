"""Makes the text of a catalogue file out of a document that describes tools or an API."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from plangate_core.catalogue.catalogue import MAX_ACTIONS, CatalogueInvalid, parse_catalogue
from plangate_core.catalogue.document import DocumentInvalid
from plangate_core.catalogue.importing.imported import ImportRefused
from plangate_core.catalogue.importing.openapi import import_openapi, is_openapi
from plangate_core.catalogue.importing.tools import import_tools, tool_entries
from plangate_core.catalogue.yaml_document import MAX_BYTES, needs_quotes, parse_document

MAX_SOURCE_BYTES = 32 << 20
MAX_SOURCE_NODES = 2_000_000

_HEADER = """\
# Imported. No action has a policy, and what no rule of the policy allows is denied.
# Look at each risk (without one an action counts as high) and where each http: binding sends, then write the policy.
# What a server says of its own tools is a comment, but for destructiveHint: true, which is risk: high. Where you trust
# the server, write risk: low, read_only: true or idempotent: true yourself.
"""


@dataclass(frozen=True, slots=True)
class CatalogueDraft:
    """A catalogue file that loads. notes: what was changed or left out, one line each. warnings: what `check` says."""

    text: str
    actions: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def import_catalogue(text: str, only: Sequence[str] = (), server: str = "") -> CatalogueDraft:
    """A catalogue of an MCP server's tools/list, an OpenAPI or Swagger file, or function definitions, as JSON or YAML.

    :param only: patterns such as `issues*`: the names of the actions that are wanted; empty: all
    :param server: where the bindings of an OpenAPI file send; empty: to the servers that it names
    :raises ImportRefused: the document is none of these, or too much for a catalogue
    """
    document, notes = _document(text)
    if is_openapi(document):
        imported = import_openapi(document, server)
    elif (entries := tool_entries(document)) is not None:
        imported = import_tools(entries)
    else:
        raise ImportRefused(
            "neither an MCP tool list (tools), nor an OpenAPI file (openapi, paths), nor function definitions"
        )
    wanted = {
        name: action
        for name, action in imported.actions.items()
        if not only or any(fnmatch.fnmatchcase(name, pattern) for pattern in only)
    }
    if not wanted:
        raise ImportRefused(
            "there is no action to import" + (f" whose name is like {' or '.join(only)}" if only else "")
        )
    if len(wanted) > MAX_ACTIONS:
        raise ImportRefused(f"{len(wanted)} actions are more than the {MAX_ACTIONS} of a catalogue: choose with --only")
    written = _HEADER + "version: 1\nactions:\n"
    for name, action in wanted.items():
        comment = imported.comments[name]
        written += (f"# {comment}\n" if comment else "") + _yaml([action])
    if len(written.encode()) > MAX_BYTES:
        raise ImportRefused(
            f"the catalogue of {len(wanted)} actions would be larger than {MAX_BYTES} bytes: choose with --only"
        )
    try:
        warnings = parse_catalogue(written).warnings
    except CatalogueInvalid as error:
        raise ImportRefused(f"the catalogue would not load: {error}") from error
    return CatalogueDraft(written, len(wanted), (*notes, *imported.notes(wanted)), warnings)


def _document(text: str) -> tuple[Any, list[str]]:
    """The value of a JSON or YAML text, and what was read otherwise than YAML 1.1 reads it."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise ImportRefused(f"the file is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        return json.loads(text), []
    except RecursionError as error:
        raise ImportRefused("nested too deep") from error
    except ValueError:
        pass
    try:
        document = parse_document(text, max_bytes=MAX_SOURCE_BYTES, max_nodes=MAX_SOURCE_NODES)
    except DocumentInvalid as error:
        raise ImportRefused(f"neither JSON nor YAML: {error}") from error
    if document.losses:
        raise ImportRefused(f"this YAML would lose something: {document.losses[0].text()}")
    return document.value, [f"read as text, {guess.text()}" for guess in document.guesses]


class _Dumper(yaml.CSafeDumper):
    """Writes no anchors, and quotes what a reader could take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if needs_quotes(value) else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
