"""The actions of a catalogue that the executor can carry out, and how. It reads its own copy of the file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from plangate.store.v1 import proposal_pb2

from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.http_binding import HttpBinding
from plangate_client.executor.outcome import Answer, Outcome
from plangate_client.executor.template import TemplateInvalid
from plangate_core.catalogue.argument_schema import ArgumentSchema
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from plangate_core.catalogue.catalogue import load_catalogue
from plangate_core.contract.struct_codec import JsonObject


@dataclass(frozen=True, slots=True)
class Function:
    """An action that is a function of this process.

    perform: carries a proposal out; the third argument is called when there may be an effect from now on.
    look_up: finds out whether a proposal was carried out.
    """

    perform: Callable[[proposal_pb2.Proposal, JsonObject, Callable[[], None]], Awaitable[Outcome]]
    look_up: Callable[[proposal_pb2.Proposal, JsonObject], Awaitable[Answer]] | None = None
    referenced_environment: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BoundAction:
    """An action that the executor can carry out."""

    name: str
    arguments: ArgumentSchema
    binding: CommandBinding | HttpBinding | Function
    reconcile: CommandBinding | HttpBinding | Function | None = None
    """Looks up whether the action was carried out."""


@dataclass(frozen=True, slots=True)
class BoundCatalogue:
    """The actions of a catalogue that have a binding."""

    path: Path
    actions: Mapping[str, BoundAction]

    def missing_environment(self, process_environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Variables that bindings refer to and that are not set, each with the action that needs it."""
        for action in self.actions.values():
            needed = action.binding.referenced_environment
            if action.reconcile is not None:
                needed |= action.reconcile.referenced_environment
            for name in sorted(needed - process_environment.keys()):
                yield name, action.name


def load_bound_catalogue(path: Path) -> BoundCatalogue:
    """Read the bindings of a catalogue file. Raises CatalogueInvalid."""
    catalogue = load_catalogue(path)
    actions: dict[str, BoundAction] = {}
    for index, action in enumerate(catalogue.actions):
        if action.binding is None:
            continue
        place = "command" if isinstance(action.binding, CommandForm) else "http"
        try:
            schema = catalogue.schema_of(action)
            binding = _compiled(action.binding, schema)
            place = "reconcile"
            reconcile = None if action.reconcile is None else _compiled(action.reconcile, schema)
            actions[action.name] = BoundAction(action.name, schema, binding, reconcile)
        except TemplateInvalid as error:
            catalogue.refuse(("actions", index, place), str(error))
    catalogue.raise_faults(str(path))
    return BoundCatalogue(path.resolve(), actions)


def _compiled(form: CommandForm | HttpForm, schema: ArgumentSchema) -> CommandBinding | HttpBinding:
    if isinstance(form, CommandForm):
        return CommandBinding.compile(form, schema)
    return HttpBinding.compile(form, schema)
