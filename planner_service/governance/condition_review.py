"""Whether a condition can mean what it says: the names and values in it, compared with the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from plangate_core.catalogue.catalogue import Action, Catalogue, Risk
from plangate_core.contract.limits import LABEL_KEY
from planner_service.governance.condition import Condition
from planner_service.governance.condition_tree import Node, nodes
from planner_service.governance.declared_arguments import Place, close_to, shown

_FIELDS = ("name", "risk")
_RISKS = tuple(risk.value for risk in Risk if risk is not Risk.UNSPECIFIED)
_EQUALITY = ("_==_", "_!=_")
_ORDER = ("_<_", "_<=_", "_>_", "_>=_")
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
    "matches": lambda text, pattern: re2.search(pattern, text) is not None,
}

Path = tuple[str, ...]


def review_condition(condition: Condition, fitting: Sequence[Action], catalogue: Catalogue) -> list[str]:
    """What cannot be meant, each with line and column within the condition. `fitting`: the actions of its rule."""
    review = _Review(Place.arguments_of(fitting), tuple(action.name for action in fitting), catalogue)
    found = [(offset, message) for node in nodes(condition.tree) for offset, message in review.of(node)]
    return [f"at {_line_and_column(condition.text, offset)}: {message}" for offset, message in sorted(set(found))]


def label_doubt(name: str, catalogue: Catalogue) -> str:
    """What is wrong with a label's name; empty when nothing is."""
    if not LABEL_KEY.fullmatch(name):
        return f"no plan can have a label {name!r}: labels match {LABEL_KEY.pattern}"
    if catalogue.labels is not None and name not in catalogue.labels:
        return f"the catalogue lists no label {name!r}{close_to(name, catalogue.labels)}"
    return ""


_Found = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Review:
    arguments: Place
    action_names: tuple[str, ...]
    catalogue: Catalogue

    def of(self, node: Node) -> Iterator[_Found]:
        """What is wrong with one node, apart from its children."""
        if node.kind == "select" and (path := _path(node)):
            yield from self._name(path[:-1], path[-1], node.offset + 1)
        if node.kind != "call" or len(node.children) != 2:
            return
        left, right = node.children
        if node.name == "_[_]" and (path := _path(node)):
            yield from self._name(path[:-1], path[-1], right.offset)
        elif node.name == "@in":
            yield from self._membership(left, right)
        elif node.name in _EQUALITY:
            yield from self._equality(left, right)
            yield from self._equality(right, left)
        elif node.name in _ORDER:
            yield from self._order(left, right)
            yield from self._order(right, left)
        elif node.name in _TEXT_TESTS:
            yield from self._text(node.name, left, right)

    def _name(self, path: Path, name: str, offset: int) -> Iterator[_Found]:
        """Whether what is at the path has a member of that name."""
        if path == ("labels",):
            if message := label_doubt(name, self.catalogue):
                yield offset, message
        elif path == ("action",):
            if name not in _FIELDS:
                yield offset, f"an action has no {name!r}{close_to(name, _FIELDS)}"
        elif path[:1] == ("args",):
            declared = self._place(path).names() if len(path) == 1 or self._place(path).schemas else None
            if declared is not None and name not in declared:
                yield offset, f"no action that the rule fits has an argument {name!r}{close_to(name, declared)}"

    def _membership(self, left: Node, right: Node) -> Iterator[_Found]:
        path = _path(left)
        if path and right.kind == "list":
            for child in right.children:
                if child.kind == "const":
                    yield from self._value(path, child)
        elif left.kind == "const" and isinstance(left.literal, str) and (container := _path(right)):
            if container == ("assumed",):
                *above, name = ("args", *left.literal.split("."))
                yield from self._name(tuple(above), name, left.offset)
            elif container in (("args",), ("labels",), ("action",)):
                yield from self._name(container, left.literal, left.offset)

    def _equality(self, subject: Node, constant: Node) -> Iterator[_Found]:
        if constant.kind == "const" and (path := _path(subject)):
            yield from self._value(path, constant)

    def _order(self, subject: Node, constant: Node) -> Iterator[_Found]:
        path = _path(subject)
        if constant.kind == "const" and path[:1] == ("args",) and not self._place(path).type_allows(constant.literal):
            yield constant.offset, f"{path[-1]!r} cannot be compared with {shown(constant.literal)}"

    def _text(self, test: str, subject: Node, constant: Node) -> Iterator[_Found]:
        path = _path(subject)
        if not path or constant.kind != "const" or not isinstance(constant.literal, str):
            return
        values = self._values(path)
        if values is not None and not any(
            isinstance(value, str) and _TEXT_TESTS[test](value, constant.literal) for value in values
        ):
            yield constant.offset, f"no value of {path[-1]!r} satisfies {test}({shown(constant.literal)})"

    def _value(self, path: Path, constant: Node) -> Iterator[_Found]:
        """Whether what is at the path can have that value."""
        value = constant.literal
        values = self._values(path)
        possible = self._place(path).may_be(value) if path[0] == "args" else values is None or value in values
        if not possible:
            names = [known for known in values or () if isinstance(known, str)]
            hint = close_to(value, names) if isinstance(value, str) else ""
            yield constant.offset, f"{path[-1]!r} never has the value {shown(value)}{hint}"

    def _values(self, path: Path) -> tuple[Any, ...] | None:
        """All values that what is at the path can have; None where that is not known."""
        if path == ("action", "name"):
            return self.action_names
        if path == ("action", "risk"):
            return _RISKS
        if path[0] == "labels" and len(path) == 2:
            return (self.catalogue.labels or {}).get(path[1]) or None
        return self._place(path).values() if path[0] == "args" else None

    def _place(self, path: Path) -> Place:
        place = self.arguments
        for name in path[1:]:
            place = place.member(name)
        return place


def _path(node: Node) -> Path:
    """The names that lead from a variable to a value; empty where they are not all constant."""
    if node.kind == "ident":
        return (node.name,)
    if node.kind == "select" and (inner := _path(node.children[0])):
        return (*inner, node.name)
    if node.kind == "call" and node.name == "_[_]" and isinstance(node.children[1].literal, str):
        inner = _path(node.children[0])
        return (*inner, node.children[1].literal) if inner else ()
    return ()


def _line_and_column(text: str, offset: int) -> str:
    before = text[:offset]
    return f"{before.count(chr(10)) + 1}:{offset - before.rfind(chr(10))}"
