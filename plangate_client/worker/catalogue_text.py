"""The catalogue of a worker's actions, as YAML for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    if action.risk:
        entry["risk"] = action.risk
    if action.idempotent:
        entry["idempotent"] = True
    if action.read_only:
        entry["read_only"] = True
    if action.effect_key:
        entry["effect_key"] = action.effect_key
    parameters = _without(action.parameters, ("type", "title", "additionalProperties"))
    if parameters.get("properties"):
        entry["parameters"] = parameters
    return entry


def _without(schema: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}
