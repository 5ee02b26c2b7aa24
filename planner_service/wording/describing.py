"""Descriptions of jobs for the people who review them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.contract.limits import MAX_DESCRIPTION_CHARACTERS
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate


class JobLike(Protocol):
    """A job, or what becomes one."""

    @property
    def action_name(self) -> str: ...
    @property
    def action_args(self) -> Mapping[str, Any]: ...


def description_of(job: JobLike, catalogue: Catalogue) -> str:
    """What a job does, for its reviewer: the action's first sentence and the arguments.

    What a screen would not show as itself, such as a character that turns the reading direction, is an escape.
    """
    action = catalogue.find(job.action_name)
    described = action.description if action else ""
    sentence = described.split("\n", 1)[0].split(". ", 1)[0].rstrip(".") or job.action_name
    # In one order, however the arguments came: the description of a revised proposal is known by it.
    properties = action.parameters.get("properties") if action else None
    declared = [*properties] if isinstance(properties, Mapping) else []
    names = [*(name for name in declared if name in job.action_args), *sorted(job.action_args.keys() - declared)]
    arguments = ", ".join(f"{visible(name)}={_shown(job.action_args[name])}" for name in names)
    text = f"{sentence} ({arguments})" if arguments else sentence
    return truncate(text, MAX_DESCRIPTION_CHARACTERS)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return truncate(visible(text), 120)
