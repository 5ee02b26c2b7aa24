"""Whether a policy's rules can mean what they say: compared with the catalogue and with the roles that people hold.

A name that is misspelt in a rule makes the rule fit nothing. In a rule that denies or asks for approval that would open
the gate, so there it is an error; in a rule that allows it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase

from plangate_core.catalogue.catalogue import Action, Catalogue, Risk
from plangate_core.catalogue.document import YamlPath
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect
from planner_service.governance.condition_review import label_doubt, review_condition
from planner_service.governance.declared_arguments import Place, close_to, shown
from planner_service.governance.policy_rule import Globs, Rule


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something in a rule that cannot be meant. `path`: within `rules`. `decisive`: it makes the policy unusable."""

    path: YamlPath
    message: str
    decisive: bool


def review_rules(
    rules: Mapping[int, Rule],
    catalogue: Catalogue,
    known_roles: frozenset[str] | None,
    *,
    first_match: bool,
    broken: Set[int] = frozenset(),
) -> list[Doubt]:
    """All doubts about these rules, which stand at these positions of the file. `broken`: those that are not whole."""
    doubts: list[Doubt] = []
    fitting = {index: _fitting_actions(rule, catalogue) for index, rule in rules.items()}
    for index, rule in rules.items():
        found = [
            *_review_match(rule, fitting[index], catalogue),
            *_unknown_roles(rule.decision.requirements, known_roles),
        ]
        if rule.condition is not None:
            actions = fitting[index] or catalogue.actions
            if messages := review_condition(rule.condition, actions, catalogue):
                found.append((("when",), "; ".join(messages)))
        doubts += [Doubt((index, *path), message, rule.is_decisive) for path, message in found]
    whole = {index: rule for index, rule in rules.items() if index not in broken}
    doubts += _review_reach(whole, fitting, first_match=first_match)
    return doubts


_Found = tuple[YamlPath, str]


def review_action_roles(catalogue: Catalogue, known_roles: frozenset[str] | None) -> Iterator[tuple[YamlPath, str]]:
    """Roles that the catalogue's own policies ask for and no known identity holds, by their path in the file."""
    for index, action in enumerate(catalogue.actions):
        if action.policy is not None:
            for path, message in _unknown_roles(action.policy.requirements, known_roles):
                yield ("actions", index, "policy", *path), message


def _fitting_actions(rule: Rule, catalogue: Catalogue) -> list[Action]:
    return [
        action
        for action in catalogue.actions
        if (rule.actions is None or _fits(rule.actions.texts, action.name))
        and (not rule.risks or action.assumed_risk in rule.risks)
    ]


def _fits(globs: Iterable[str], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _review_match(rule: Rule, fitting: Sequence[Action], catalogue: Catalogue) -> Iterator[_Found]:
    names = [action.name for action in catalogue.actions]
    for position, glob in enumerate(rule.actions.texts if rule.actions else ()):
        if not any(_fits([glob], name) for name in names):
            yield ("match", "action", position), f"no action of the catalogue fits {glob!r}{close_to(glob, names)}"
    if rule.risks and not fitting and any(rule.actions is None or _fits(rule.actions.texts, name) for name in names):
        risks = " or ".join(risk.value for risk in Risk if risk in rule.risks)
        yield ("match", "risk"), f"no action that fits has the risk {risks}"
    yield from _review_labels(rule, catalogue)
    arguments = Place.arguments_of(fitting or catalogue.actions)
    declared = arguments.names()
    for name, wanted in rule.args.items():
        if declared is not None and name not in declared:
            message = f"no action that the rule fits has an argument {name!r}{close_to(name, declared)}"
            yield ("match", "args", name), message
        else:
            yield from _review_value(name, wanted, arguments.member(name))


def _review_value(name: str, wanted: Globs | bool | int | float | None, place: Place) -> Iterator[_Found]:
    if not isinstance(wanted, Globs):
        if not place.may_be(wanted):
            yield ("match", "args", name), f"{name!r} never has the value {shown(wanted)}"
        return
    values = place.values()
    for position, glob in enumerate(wanted.texts):
        if values is None:
            impossible = not place.may_be("")
        else:
            impossible = not any(isinstance(value, str) and _fits([glob], value) for value in values)
        if impossible:
            hint = close_to(glob, [value for value in values or () if isinstance(value, str)])
            yield ("match", "args", name, position), f"{name!r} never has the value {shown(glob)}{hint}"


def _review_labels(rule: Rule, catalogue: Catalogue) -> Iterator[_Found]:
    for name, globs in rule.labels.items():
        if message := label_doubt(name, catalogue):
            yield ("match", "labels", name), message
            continue
        values = (catalogue.labels or {}).get(name, ())
        for position, glob in enumerate(globs.texts):
            if values and not any(_fits([glob], value) for value in values):
                message = f"the label {name!r} never has the value {glob!r}{close_to(glob, values)}"
                yield ("match", "labels", name, position), message


def _unknown_roles(requirements: Sequence[ApprovalRequirement], known_roles: frozenset[str] | None) -> Iterator[_Found]:
    for requirement in requirements:
        role = requirement.role
        if known_roles is not None and role and role not in known_roles:
            path: YamlPath = ("role",) if len(requirements) == 1 else ("approvals", role)
            yield path, f"no known identity holds the role {role!r}{close_to(role, known_roles)}"


def _review_reach(
    rules: Mapping[int, Rule], fitting: Mapping[int, Sequence[Action]], *, first_match: bool
) -> Iterator[Doubt]:
    """Rules that decide nothing: others, which ask nothing but the action, have decided about each action they fit."""
    covering: dict[str, int] = {}
    for index, rule in rules.items():
        if rule.is_unconditional and (first_match or rule.decision.effect is Effect.DENY):
            for action in fitting[index]:
                covering.setdefault(action.name, index)
    for index, rule in rules.items():
        deciding = {covering.get(action.name, index) for action in fitting[index]}
        if first_match:
            shadowed = bool(deciding) and all(other < index for other in deciding)
        else:
            shadowed = bool(deciding) and rule.decision.effect is not Effect.DENY and index not in deciding
        if shadowed:
            others = ", ".join(rules[other].name for other in sorted(deciding))
            verb = "decide" if len(deciding) > 1 else "decides"
            yield Doubt((index,), f"no job reaches this rule: {others} {verb} all that it fits", rule.is_decisive)
