"""The catalogue of a worker's actions, as YAML for the planner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from plangate_client.worker.action import WorkerAction
from plangate_core.catalogue.catalogue import parse_catalogue

_WIDTH = 120


def catalogue_yaml(actions: Iterable[WorkerAction[..., Any]]) -> str:
    """The text of a catalogue file. Raises CatalogueInvalid for a signature whose schema a catalogue cannot have."""
    entries = [_entry(action) for action in actions]
    text = yaml.safe_dump({"version": 1, "actions": entries}, sort_keys=False, allow_unicode=True, width=_WIDTH)
    parse_catalogue(text)
    return text


def _entry(action: WorkerAction[..., Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": action.name, "description": " ".join(action.description.split())}
    for name in ("risk", "idempotent", "read_only", "effect_key"):
        if value := getattr(action, name):
            entry[name] = value
    left_out = ("type", "title", "additionalProperties")
    parameters = {name: value for name, value in action.parameters.items() if name not in left_out}
    if parameters.get("properties"):
        entry["parameters"] = parameters
    return entry
