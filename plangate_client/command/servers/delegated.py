"""What the servers' own programs do: `plangate store …`, `model …`, `policy …`, `replay …`."""

from __future__ import annotations

import sys

import typer

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def model(context: typer.Context) -> None:
    """The embedded model: `pull` brings it, `status` says whether it is there."""
    _run_module("planner_service", ["model", *context.args])


def replay(context: typer.Context) -> None:
    """Make the plans of a recorded run again, without a model, and compare them."""
    _run_module("planner_service", ["replay", *context.args])


def policy(context: typer.Context) -> None:
    """The policy: `test` decides about the jobs of a file and compares with what it expects."""
    _run_module("planner_service", ["policy", *(context.args or ["--help"])])


def store(context: typer.Context) -> None:
    """The store's database: `migrate`, `backup`, `check`, `export`."""
    # Without a subcommand the store's own program would serve.
    _run_module("store_service", context.args or ["--help"])


def _run_module(module: str, arguments: list[str]) -> None:
    import os

    # In place of this process: signals, the terminal and the exit status are the program's own. -P: modules come from
    # the installation, never from the directory that somebody happens to stand in.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606
