"""The actions of a catalogue that the executor can carry out, and how. It reads its own copy of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from plangate.store.v1 import proposal_pb2

from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.http_binding import HttpBinding
from plangate_client.executor.outcome import Answer, Outcome
from plangate_client.executor.template import TemplateInvalid
from plangate_core.catalogue.argument_schema import ArgumentSchema
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from plangate_core.catalogue.catalogue import Action, Catalogue, load_catalogue
from plangate_core.contract.struct_codec import JsonObject


class Function(Protocol):
    """An action that is a Python function: plangate_client.worker."""

    @property
    def referenced_environment(self) -> frozenset[str]:
        """Variables that it needs."""

    async def perform(self, proposal: proposal_pb2.Proposal, args: JsonObject, begin: Callable[[], None]) -> Outcome:
        """Carry a proposal out; `begin` is called when there may be an effect from now on."""


class LookUp(Protocol):
    """A Python function that looks up whether an action was carried out."""

    @property
    def referenced_environment(self) -> frozenset[str]:
        """Variables that it needs."""

    async def look_up(self, proposal: proposal_pb2.Proposal, args: JsonObject) -> Answer:
        """Find out whether a proposal was carried out."""


@dataclass(frozen=True, slots=True)
class BoundAction:
    """An action that the executor can carry out."""

    name: str
    arguments: ArgumentSchema
    binding: CommandBinding | HttpBinding | Function
    reconcile: CommandBinding | HttpBinding | LookUp | None = None
    """Looks up whether the action was carried out."""


@dataclass(frozen=True, slots=True)
class BoundCatalogue:
    """The actions of a catalogue that have a binding."""

    path: Path
    actions: Mapping[str, BoundAction]

    def missing_environment(self, process_environment: Mapping[str, str]) -> dict[str, list[str]]:
        """Variables that bindings refer to and that are not set -> the actions that need them."""
        missing: dict[str, list[str]] = {}
        for action in self.actions.values():
            needed = action.binding.referenced_environment
            if action.reconcile is not None:
                needed |= action.reconcile.referenced_environment
            for name in sorted(needed - process_environment.keys()):
                missing.setdefault(name, []).append(action.name)
        return missing


def load_bound_catalogue(path: Path) -> BoundCatalogue:
    """Read the bindings of a catalogue file. Raises CatalogueInvalid."""
    catalogue = load_catalogue(path)
    actions: dict[str, BoundAction] = {}
    for index, action in enumerate(catalogue.actions):
        if action.binding is None:
            continue
        try:
            actions[action.name] = _bound(action, catalogue)
        except TemplateInvalid as error:
            kind = "command" if isinstance(action.binding, CommandForm) else "http"
            catalogue.refuse(("actions", index, kind), str(error))
            continue
        if action.reconcile is None:
            continue
        try:
            actions[action.name] = replace(
                actions[action.name], reconcile=_compiled(action.reconcile, catalogue.schema_of(action))
            )
        except TemplateInvalid as error:
            catalogue.refuse(("actions", index, "reconcile"), str(error))
    catalogue.raise_faults(str(path))
    return BoundCatalogue(path.resolve(), actions)


def _bound(action: Action, catalogue: Catalogue) -> BoundAction:
    schema = catalogue.schema_of(action)
    assert action.binding is not None
    return BoundAction(action.name, schema, _compiled(action.binding, schema))


def _compiled(form: CommandForm | HttpForm, schema: ArgumentSchema) -> CommandBinding | HttpBinding:
    if isinstance(form, CommandForm):
        return CommandBinding.compile(form, schema)
    return HttpBinding.compile(form, schema)
