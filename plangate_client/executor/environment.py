"""Where the executor runs, and how a binding is carried out there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from plangate.store.v1 import proposal_pb2

from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.command_run import run_command
from plangate_client.executor.http_binding import HttpBinding
from plangate_client.executor.http_run import run_http
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.template import Values
from plangate_core.contract.struct_codec import JsonObject


@dataclass(frozen=True, slots=True)
class ExecutionEnvironment:
    """What placeholders and environment references stand for."""

    environment: Mapping[str, str]
    directory: Path
    python: str
    catalogue_directory: Path

    @classmethod
    def here(cls) -> Self:
        """This process's, in its current directory."""
        return cls(dict(os.environ), Path.cwd(), sys.executable, Path.cwd())

    async def run(
        self,
        binding: CommandBinding | HttpBinding,
        proposal: proposal_pb2.Proposal,
        args: JsonObject,
        begin: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Run a command, or send a request, with the arguments of a proposal under its lease.

        :param begin: called when there may be an effect from now on.
        :raises ArgumentMissing, ArgumentRefused: they do not fit the binding; nothing was begun.
        """
        constants = {
            "proposal.id": proposal.id,
            "proposal.plan_id": proposal.plan_id,
            "proposal.attempt": str(proposal.lease.attempt),
            "python": self.python,
            "catalogue_directory": str(self.catalogue_directory),
        }
        values = Values(args, constants)
        if isinstance(binding, CommandBinding):
            line = binding.render(values, self.environment, self.directory)
            begin()
            return await run_command(line, binding.form)
        request = binding.render(values, self.environment)
        begin()
        return await run_http(request, binding.form)
