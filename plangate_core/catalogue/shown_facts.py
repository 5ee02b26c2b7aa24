"""What a catalogue has looked up for reviewers before they decide: `review: {show: [get_order]}`."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from plangate_core.catalogue.document import Document, Form, YamlPath
from plangate_core.catalogue.duration_text import DurationText
from plangate_core.contract.limits import MAX_FACTS

_Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class ShownFact:
    """A read-only action, and from which arguments of the reviewed one its own come: by name, dots go into nested."""

    action_name: str
    args: Mapping[str, str]

    def args_of(self, reviewed: Mapping[str, Any]) -> dict[str, Any]:
        """Its arguments, as far as the reviewed action's have them."""
        found = {name: argument_at(reviewed, source) for name, source in self.args.items()}
        return {name: value for name, value in found.items() if value is not None}


def argument_at(value: Any, source: str) -> Any:
    """The argument of that name, dots go into nested ones; None when there is none."""
    for name in source.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


class ShownForm(Form):
    """One entry of `show:`."""

    action: _Name
    args: dict[_Name, _Name] = Field(default_factory=dict)


def _entry(value: Any) -> Any:
    """`get_order` is short for `{action: get_order}`."""
    return {"action": value} if isinstance(value, str) else value


class ReviewForm(Form):
    """An action's `review:`."""

    show: Annotated[list[Annotated[ShownForm, BeforeValidator(_entry)]], Field(min_length=1, max_length=MAX_FACTS)]
    timeout: DurationText = "1m"


def shown_fact(
    form: ShownForm,
    reviewed: Mapping[str, Any],
    parameters: Mapping[str, Mapping[str, Any]],
    read_only: Set[str],
    document: Document,
    path: YamlPath,
) -> ShownFact:
    """The fact that a form says. Faults are recorded.

    reviewed: the schema of the reviewed action's arguments. parameters: those of all actions, by name.
    """
    shown = parameters.get(form.action)
    if shown is None:
        document.refuse(path, f"there is no action {form.action!r}")
        return ShownFact(form.action, {})
    if form.action not in read_only:
        document.refuse(path, f"{form.action} is not marked read_only: true")
    ours, theirs = reviewed.get("properties", {}), shown.get("properties", {})
    for name, source in form.args.items():
        if name not in theirs:
            document.refuse((*path, "args", name), f"{form.action} has no argument {name!r}")
        elif source.partition(".")[0] not in ours:
            document.refuse((*path, "args", name), f"the action has no argument {source!r}")
    args = {**{name: name for name in theirs if name in ours}, **form.args}
    for name in shown.get("required", []):
        if name not in args:
            document.refuse(path, f"{form.action} needs {name!r}, which is no argument of the action: map it with args")
    return ShownFact(form.action, args)
