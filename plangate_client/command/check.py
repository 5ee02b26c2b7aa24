"""`plangate check`: everything that is wrong with the files of a planner and its executors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import ExitStatus
from plangate_client.command.session import environment_with
from plangate_core.text.printable import visible


def check(
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", metavar="FILE", help="The actions. PLANGATE_CATALOGUE_FILE")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="The rules. PLANGATE_POLICY_FILE")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Read catalogue, bindings, policy and tokens, and list all that is wrong with them."""
    environment = environment_with(
        {
            "PLANGATE_CATALOGUE_FILE": None if catalogue is None else catalogue.resolve(),
            "PLANGATE_POLICY_FILE": None if policy is None else policy.resolve(),
        }
    )
    faults = _binding_faults(environment.get("PLANGATE_CATALOGUE_FILE", ""))
    for fault in faults:
        print(f"plangate: {visible(fault)}", file=sys.stderr)
    # -P: modules come from the installation, never from the directory that somebody happens to stand in.
    command = [sys.executable, "-P", "-m", "planner_service", "check", *(["--strict"] if strict else [])]
    status = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own program
    raise typer.Exit(status or (int(ExitStatus.OTHER) if faults else 0))


def _binding_faults(file: str) -> list[str]:
    """What is wrong with how actions are carried out; empty for a catalogue that does not load, as the planner says."""
    from plangate_client.executor.catalogue import load_bound_catalogue
    from plangate_core.catalogue.catalogue import CatalogueInvalid, load_catalogue

    if not file:
        return []
    try:
        load_catalogue(file)
    except CatalogueInvalid:
        return []
    try:
        load_bound_catalogue(Path(file))
    except CatalogueInvalid as error:
        return error.lines()
    return []
