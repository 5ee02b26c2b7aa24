"""One rule of a policy: what it fits. Everything it does costs work that is bounded for each job (condition.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate
from typing import Any

from plangate_core.catalogue.catalogue import Action, Risk
from plangate_core.catalogue.policy_effect import Effect
from planner_service.governance.condition import Condition, Values
from planner_service.governance.decision import Decision

_PATTERN_NANOSECONDS = 400.0
_TRIED_NANOSECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What policy looks at: a job whose arguments passed the catalogue's checks, and who wants it when.

    assumed: dotted paths of arguments that a default filled.
    """

    action: Action
    args: Mapping[str, Any]
    labels: Mapping[str, str]
    requester: str
    now: datetime
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Globs:
    """Patterns with * and ?, any of which may match. Case matters.

    Trying them costs at most `fixed_nanoseconds`, and `character_nanoseconds` for each character of the text: a part
    between two * is tried at each place.
    """

    texts: tuple[str, ...]
    compiled: tuple[re.Pattern[str], ...]
    fixed_nanoseconds: float
    character_nanoseconds: float

    @classmethod
    def of(cls, texts: Iterable[str]) -> Globs:
        """Compile them. Runs of * become one: two in a row would only cost backtracking."""
        kept = [re.sub(r"\*+", "*", text) for text in texts]
        return cls(
            tuple(kept),
            tuple(re.compile(translate(text)) for text in kept),
            _PATTERN_NANOSECONDS * len(kept),
            _TRIED_NANOSECONDS * sum(map(len, kept)),
        )

    def match(self, text: str, values: Values) -> bool:
        """Whether any pattern fits the whole text. Raises ConditionFailed when that could take too long."""
        values.spend(self.fixed_nanoseconds + self.character_nanoseconds * len(text))
        return any(pattern.match(text) for pattern in self.compiled)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when everything it names fits, it says `decision`. What it does not name fits anything."""

    name: str
    decision: Decision
    actions: Globs | None
    risks: frozenset[Risk]
    requesters: Globs | None
    labels: Mapping[str, Globs]
    args: Mapping[str, Globs | bool | int | float | None]
    condition: Condition | None

    @property
    def time_dependent(self) -> bool:
        """Whether its condition looks at the time."""
        return self.condition is not None and self.condition.time_dependent

    @property
    def is_decisive(self) -> bool:
        """Whether it closes the gate: without it, more would be allowed."""
        return self.decision.effect is not Effect.ALLOW

    @property
    def is_unconditional(self) -> bool:
        """Whether it applies to every job of the actions and risks it names."""
        return self.condition is None and self.requesters is None and not self.labels and not self.args

    def matches(self, subject: Subject, values: Values) -> bool:
        """Whether all that `match` names fits. Raises ConditionFailed."""
        risk = subject.action.assumed_risk
        return (
            (self.actions is None or self.actions.match(subject.action.name, values))
            and (not self.risks or risk in self.risks)
            and (self.requesters is None or self.requesters.match(subject.requester, values))
            and all(
                key in subject.labels and globs.match(subject.labels[key], values) for key, globs in self.labels.items()
            )
            and all(
                name in subject.args and _same(wanted, subject.args[name], values) for name, wanted in self.args.items()
            )
        )

    def holds(self, values: Values) -> bool:
        """Whether the condition, if there is one, is true. Raises ConditionFailed."""
        return self.condition is None or self.condition.holds(values)


def _same(wanted: Globs | bool | int | float | None, value: Any, values: Values) -> bool:
    if isinstance(wanted, Globs):
        return isinstance(value, str) and wanted.match(value, values)
    # True == 1 in Python, not in a policy.
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)
