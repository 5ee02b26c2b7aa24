"""Finding the actions of a module by its name."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from plangate_client.worker.action import WorkerAction


class WorkerNotFound(Exception):
    """There is no such module, or no action in it; the message says so on one line."""


def load_actions(target: str) -> dict[str, WorkerAction[..., Any]]:
    """The actions of `module`, or the one that `module:name` names, by the names that the catalogue has.

    Modules are found as `python -m` finds them, in the current directory first. `module:worker`, where `worker` is
    imported from plangate_client, means all of the module.

    :raises WorkerNotFound: also when importing the module fails.
    """
    module_name, _, name = target.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except Exception as error:
        raise WorkerNotFound(f"cannot import {module_name}: {type(error).__name__}: {error}") from error
    wanted = getattr(module, name, None) if name else None
    if name and wanted is None:
        raise WorkerNotFound(f"{module_name} has no {name}")
    if isinstance(wanted, WorkerAction):
        return {wanted.name: wanted}
    actions: dict[str, WorkerAction[..., Any]] = {}
    for value in vars(module).values():
        if isinstance(value, WorkerAction) and actions.setdefault(value.name, value) is not value:
            raise WorkerNotFound(f"{module_name} has two actions called {value.name}")
    if not actions:
        raise WorkerNotFound(f"{module_name} has no action: mark functions with @worker.action(NAME)")
    return actions
