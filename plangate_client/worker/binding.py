"""Worker actions as the executor runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from plangate.store.v1 import proposal_pb2

from plangate_client.executor.catalogue import BoundAction
from plangate_client.executor.outcome import Answer, Outcome
from plangate_client.worker.action import WorkerAction
from plangate_client.worker.call import Call
from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.contract.struct_codec import JsonObject


@dataclass(frozen=True, slots=True)
class FunctionBinding:
    """One action's function."""

    action: WorkerAction[..., Any]
    referenced_environment: frozenset[str] = frozenset()

    async def perform(self, proposal: proposal_pb2.Proposal, args: JsonObject, begin: Callable[[], None]) -> Outcome:
        """Carry the proposal out."""
        return await self.action.perform(args, _call(proposal), begin)

    async def look_up(self, proposal: proposal_pb2.Proposal, args: JsonObject) -> Answer:
        """Find out whether the proposal was carried out."""
        return await self.action.look_up(args, _call(proposal))


def _call(proposal: proposal_pb2.Proposal) -> Call:
    return Call(proposal.id, proposal.plan_id, proposal.lease.attempt, proposal.created_by)


def bound_actions(actions: Mapping[str, WorkerAction[..., Any]]) -> dict[str, BoundAction]:
    """The actions with their compiled schemas. Raises SchemaRefused."""
    bound: dict[str, BoundAction] = {}
    for name, action in actions.items():
        schema = ArgumentSchema(closed({"type": "object", **action.parameters}))
        binding = FunctionBinding(action)
        bound[name] = BoundAction(name, schema, binding, reconcile=binding if action.reconcile is not None else None)
    return bound
