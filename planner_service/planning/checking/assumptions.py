"""Arguments of a job that nothing in the request stands for: a default of the action's schema filled them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.wording.words import words

MAX_ASSUMED = 64


def filled_in(given: Mapping[str, Any], complete: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted paths of what the complete arguments have and the given ones have not."""
    return tuple(islice(_added(given, complete, ""), MAX_ASSUMED))


def assumed_arguments(
    action_name: str, given: Mapping[str, Any], complete: Mapping[str, Any], request: str, catalogue: Catalogue
) -> tuple[str, ...]:
    """Dotted paths of the arguments that a default filled, or that a model wrote as the default has it although the
    request does not name it.

    A truth value that a model wrote counts as named: a request has many ways to express it.
    """
    filled = filled_in(given, complete)
    action = catalogue.find(action_name)
    if action is None:
        return filled
    defaults, _ = catalogue.check_args(action, {})
    requested = f" {' '.join(words(request))} "
    unnamed = (
        name
        for name, default in defaults.items()
        if name in given and isinstance(default, (str, int, float)) and not isinstance(default, bool)
        if complete.get(name) == default and not _names(requested, default)
    )
    return tuple(islice(dict.fromkeys((*filled, *unnamed)), MAX_ASSUMED))


def _added(given: Any, complete: Any, path: str) -> Iterator[str]:
    if isinstance(complete, Mapping):
        for name, value in complete.items():
            if not isinstance(given, Mapping) or name not in given:
                yield f"{path}{name}"
            else:
                yield from _added(given[name], value, f"{path}{name}.")
    elif isinstance(complete, list) and isinstance(given, list) and len(given) == len(complete):
        for index, (before, after) in enumerate(zip(given, complete, strict=True)):
            yield from _added(before, after, f"{path}{index}.")


def _names(requested: str, value: str | int | float) -> bool:
    text = " ".join(words(str(value)))
    return not text or f" {text} " in requested
