"""What the placeholders of a binding stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plangate.store.v1 import proposal_pb2

from plangate_client.executor.template import Values
from plangate_core.contract.struct_codec import JsonObject


@dataclass(frozen=True, slots=True)
class ExecutionEnvironment:
    """Where the executor runs: what placeholders and environment references stand for."""

    environment: Mapping[str, str]
    directory: Path
    python: str
    catalogue_directory: Path


def values_of(proposal: proposal_pb2.Proposal, args: JsonObject, environment: ExecutionEnvironment) -> Values:
    """The arguments of a proposal under its lease, and the names that every binding knows."""
    return Values(
        args,
        {
            "proposal.id": proposal.id,
            "proposal.plan_id": proposal.plan_id,
            "proposal.attempt": str(proposal.lease.attempt),
            "python": environment.python,
            "catalogue_directory": str(environment.catalogue_directory),
        },
    )
