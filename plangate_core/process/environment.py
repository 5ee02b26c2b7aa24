"""Environment variables with our prefix that nothing reads: a policy whose variable is misspelt is no policy at all."""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
from importlib import import_module

import structlog

from plangate_core.process.settings import PREFIX, PlangateSettings

# The settings of every program of ours: they often share one environment. By name, because no program imports another's
# unless there is a variable that it does not know.
_CLASSES = (
    "plangate_client.settings:ClientSettings",
    "store_service.settings:StoreSettings",
    "planner_service.settings:PlannerSettings",
    "planner_service.generation.embedded.settings:EmbeddedSettings",
    "plangate_inbox.settings:InboxSettings",
)
# Of the container image and the Compose file.
_OTHERS = frozenset({"PLANGATE_AS", "PLANGATE_HEALTH_TARGET"})
# What Kubernetes adds for services named plangate-...
_ADDED = re.compile(PREFIX + r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_.+)?)")
_ALIKE = 0.7

_log = structlog.get_logger("plangate_core")


class VariableMisspelt(Exception):
    """A variable that is no setting, and is so like one that it must be meant; the message says which, on one line."""


@cache
def known_variables() -> frozenset[str]:
    """The variables of all settings classes."""
    names: set[str] = set()
    for place in _CLASSES:
        module, _, name = place.partition(":")
        settings: type[PlangateSettings] = getattr(import_module(module), name)
        names.update(settings.variables())
    return frozenset(names)


def check_variables(own: type[PlangateSettings]) -> None:
    """Warn of variables that are no settings. Raises VariableMisspelt.

    :param own: the settings of this program.
    """
    ours = own.variables()
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and name not in ours and name not in _OTHERS and not _ADDED.fullmatch(name)
    )
    if not unknown:
        return
    known = known_variables()
    unknown = [name for name in unknown if name not in known]
    for name in unknown:
        rests = {variable.removeprefix(PREFIX): variable for variable in sorted(known)}
        if close := difflib.get_close_matches(name.removeprefix(PREFIX), rests, n=1, cutoff=_ALIKE):
            raise VariableMisspelt(f"{name} is no setting: {rests[close[0]]} is; unset it, or spell it so")
    if unknown:
        _log.warning("variables that are no settings", names=unknown)
