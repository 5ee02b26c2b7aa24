"""The executor's own copy of the catalogue: which actions it can carry out, and how.

Only `name`, `parameters`, `command` and `http` of each action are looked at; the planner checks the rest of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from plangate_client.executor.arguments import ArgumentSchema, SchemaInvalid
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.http_binding import HttpBinding
from plangate_client.executor.template import TemplateInvalid
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm

_MAX_BYTES = 1 << 20


class CatalogueInvalid(Exception):
    """The catalogue cannot be used by an executor; the message says where and why, on one line."""


@dataclass(frozen=True, slots=True)
class BoundAction:
    """An action that the executor can carry out."""

    name: str
    arguments: ArgumentSchema
    binding: CommandBinding | HttpBinding


@dataclass(frozen=True, slots=True)
class BoundCatalogue:
    """The actions of a catalogue that have a binding."""

    path: Path
    actions: Mapping[str, BoundAction]

    def missing_environment(self, process_environment: Mapping[str, str]) -> dict[str, list[str]]:
        """Variables that bindings refer to and that are not set -> the actions that need them."""
        missing: dict[str, list[str]] = {}
        for action in self.actions.values():
            for name in sorted(action.binding.referenced_environment - process_environment.keys()):
                missing.setdefault(name, []).append(action.name)
        return missing


def load_bound_catalogue(path: Path) -> BoundCatalogue:
    """Read the bindings of a catalogue file. Raises CatalogueInvalid."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CatalogueInvalid(f"cannot read the catalogue: {error.strerror}: {path}") from error
    if len(data) > _MAX_BYTES:
        raise CatalogueInvalid(f"the catalogue is larger than {_MAX_BYTES} bytes: {path}")
    try:
        # _JsonLoader extends the safe loader.
        document = yaml.load(data.decode("utf-8-sig"), Loader=_JsonLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CatalogueInvalid(f"the catalogue is not YAML: {' '.join(str(error).split())}: {path}") from error
    entries = document.get("actions") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise CatalogueInvalid(f"the catalogue has no list of actions: {path}")
    actions: dict[str, BoundAction] = {}
    for index, entry in enumerate(entries):
        action = _bound_action(entry, index, path)
        if action is None:
            continue
        if action.name in actions:
            raise CatalogueInvalid(f"the action {action.name} is given twice: {path}")
        actions[action.name] = action
    return BoundCatalogue(path.resolve(), actions)


def _bound_action(entry: Any, index: int, path: Path) -> BoundAction | None:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise CatalogueInvalid(f"action {index + 1} has no name: {path}")
    if "command" in entry and "http" in entry:
        raise CatalogueInvalid(f"the action {name} binds command and http; one of them is needed: {path}")
    kind = next((kind for kind in ("command", "http") if kind in entry), None)
    if kind is None:
        return None
    try:
        schema = ArgumentSchema(entry.get("parameters") or {})
        binding: CommandBinding | HttpBinding
        if kind == "command":
            binding = CommandBinding.compile(CommandForm.model_validate(entry["command"]), schema)
        else:
            binding = HttpBinding.compile(HttpForm.model_validate(entry["http"]), schema)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in (kind, *first["loc"]))
        raise CatalogueInvalid(f"the action {name}: {place}: {first['msg']}: {path}") from error
    except (TemplateInvalid, SchemaInvalid) as error:
        raise CatalogueInvalid(f"the action {name}: {error}: {path}") from error
    return BoundAction(name, schema, binding)


class _JsonLoader(yaml.SafeLoader):
    """What JSON can say, nothing that YAML guesses: keys are the text that is written, dates stay text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value if isinstance(key, yaml.ScalarNode) else None for key, _ in node.value]
        if None in keys or "<<" in keys:
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", node.start_mark)
        if len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        values = [self.construct_object(value, deep=True) for _, value in node.value]
        return dict(zip(keys, values, strict=True))


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
