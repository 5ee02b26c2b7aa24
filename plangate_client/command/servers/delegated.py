"""What the servers' own programs do: `plangate store …`, `model …`, `policy …`, `replay …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import typer

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def model(context: typer.Context) -> None:
    """The embedded model: `pull` brings it, `status` says whether it is there."""
    run_module("planner_service", ["model", *context.args])


def replay(context: typer.Context) -> None:
    """Make the plans of a recorded run again, without a model, and compare them."""
    run_module("planner_service", ["replay", *context.args])


def policy(context: typer.Context) -> None:
    """The policy: `test` decides about the jobs of a file and compares with what it expects."""
    run_module("planner_service", ["policy", *(context.args or ["--help"])])


def store(context: typer.Context) -> None:
    """The store's database: `migrate`, `backup`, `check`, `export`."""
    # Without a subcommand the store's own program would serve.
    run_module("store_service", context.args or ["--help"])


def run_module(module: str, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Run a program of ours in place of this process: signals, the terminal and the exit status are its own."""
    # -P: modules come from the installation, never from the directory that somebody happens to stand in.
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *arguments], environment)  # noqa: S606
