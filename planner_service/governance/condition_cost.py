"""What evaluating a condition can cost at most, worked out before it is evaluated.

The runtime holds the interpreter while it evaluates, so nothing else runs in this process meanwhile, and it bounds
iterations only: one comparison of two long lists within a macro over a third is still seconds. As Kubernetes does for
the conditions of its resources, the expression's tree is walked with the sizes of the very values that it would be
evaluated with, and each operation charged at what it takes for the largest of them. Prices are nanoseconds, about
twice of what was measured (docs/decisions/0020-conditions-in-cel.md has what that allows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import re2

from planner_service.governance.condition_tree import Node, nodes

MAX_ITERATIONS = 10_000
"""The runtime's own limit, for all macros of an expression together."""
# About ten thousand instructions: the engine refuses a pattern that unfolds to more.
_PATTERN_BYTES = 1 << 20

_EVALUATION = 10_000.0
_OPERATION = 150.0
_UNIT = 5.0
"""Looking at one unit of a value's weight (_Shape)."""
_ELEMENT_COPIED = 60.0
_NEEDLE = 0.04
"""`contains`: one byte of the text looked at for one byte of what is looked for."""
_INSTRUCTION_COMPILED = 1_000.0
_INSTRUCTION_RUN = 12.0
"""`matches`: one byte of the text, for one instruction of the pattern, which is compiled each time."""
_NODE_WALKED = 4_000.0
_NOT_WORTH_WALKING = 20_000.0
_VALUE_WEIGHT = 16
_ENTRY_WEIGHT = 32


class PatternRefused(Exception):
    """A pattern is no literal, wrong, or unfolds to too much; says which."""


class Cost:
    """The cost of one compiled expression. Immutable."""

    def __init__(self, root: Node) -> None:
        """`root`: of the expression's tree. Raises PatternRefused."""
        self._root = root
        self._patterns = dict(_patterns(self._root))
        every = list(nodes(self._root))
        self._operations = len(every)
        # Looks at each value once for an operation at most.
        self._is_plain = not any(node.kind == "comprehension" or node.name in ("matches", "contains") for node in every)

    def nanoseconds(self, weights: Weights) -> float:
        """What it costs with these values, at most, working that out included."""
        if self._is_plain:
            rough = self._operations * (_OPERATION + weights.total * _UNIT)
            if rough <= _NOT_WORTH_WALKING:
                return _EVALUATION + rough
        walk = _Walk(self._patterns, weights)
        walk.cost(self._root, weights.variables, 1.0)
        return _EVALUATION + walk.spent + self._operations * _NODE_WALKED


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of a value before it is there: any of `values`, or, without those, as large as the numbers say.

    weight: about the bytes it takes with all that it holds. count: its elements or entries.
    """

    weight: float
    count: float
    values: Sequence[Any] = ()
    element: _Shape | None = None


_SCALAR = _Shape(_VALUE_WEIGHT, 0)


class Weights:
    """Measures the values of one evaluation, each once."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._known: dict[int, float] = {}
        self._derived: dict[tuple[int, str, str], _Shape] = {}
        self.variables = {name: self.shape([value]) for name, value in variables.items()}
        self.total = sum(shape.weight for shape in self.variables.values())

    def part(self, shape: _Shape, how: Literal["field", "inside", "element"], name: str = "") -> _Shape:
        """What a map has as the "field" of a name; what an index finds "inside"; each "element" that a macro goes over
        (of a list, or the keys of a map)."""
        if not shape.values:
            return shape.element or _SCALAR
        derived = self._derived.get((id(shape), how, name))
        if derived is None:
            found = [held for value in shape.values for held in _held(value, how, name)]
            derived = self._derived[id(shape), how, name] = self.shape(found)
        return derived

    def shape(self, values: Sequence[Any]) -> _Shape:
        """The shape of what may be any of these."""
        if not values:
            return _SCALAR
        return _Shape(max(map(self._of, values)), max(map(_count, values)), values)

    def _of(self, value: Any) -> float:
        """Of the value with all that it holds."""
        if isinstance(value, str):
            # UTF-8 takes up to four bytes for a character.
            return _VALUE_WEIGHT + (len(value) if value.isascii() else 4 * len(value))
        if not isinstance(value, (dict, list)):
            return _VALUE_WEIGHT
        known = self._known.get(id(value))
        if known is None:
            held = value.values() if isinstance(value, dict) else value
            known = _VALUE_WEIGHT + sum(map(self._of, held))
            if isinstance(value, dict):
                known += sum(_ENTRY_WEIGHT + 4 * len(key) for key in value)
            self._known[id(value)] = known
        return known


class _Walk:
    def __init__(self, patterns: Mapping[str, int], weights: Weights) -> None:
        self.spent = 0.0
        self._patterns = patterns
        self._weights = weights

    def cost(self, node: Node, scope: Mapping[str, _Shape], times: float) -> _Shape:
        """Charge for `times` evaluations of the node; returns what comes of it."""
        self.spent += times * _OPERATION
        match node.kind:
            case "const":
                return self._weights.shape([node.literal])
            case "ident":
                return scope.get(node.name, _SCALAR)
            case "select":
                return self._weights.part(self.cost(node.children[0], scope, times), "field", node.name)
            case "call":
                return self._call(node, scope, times)
            case "list" | "map":
                parts = [self.cost(child, scope, times) for child in node.children]
                heaviest = max(parts, key=lambda part: part.weight, default=_SCALAR)
                weight = _VALUE_WEIGHT + sum(part.weight + _ENTRY_WEIGHT for part in parts)
                return _Shape(weight, len(parts), element=heaviest)
            case _:
                return self._comprehension(node, scope, times)

    def _call(self, node: Node, scope: Mapping[str, _Shape], times: float) -> _Shape:
        parts = [self.cost(child, scope, times) for child in node.children]
        weights = [part.weight for part in parts]
        match node.name:
            case "_?_:_" | "_||_" | "_&&_" | "!_" | "@not_strictly_false" | "-_":
                return max(parts, key=lambda part: part.weight)
            case "_[_]":
                index = node.children[1]
                if index.kind == "const" and isinstance(index.literal, str):
                    return self._weights.part(parts[0], "field", index.literal)
                return self._weights.part(parts[0], "inside")
            case "_+_":
                texts = 0.0 if _is_list(parts) else sum(weights) * _UNIT
                self.spent += times * (sum(part.count for part in parts) * _ELEMENT_COPIED + texts)
                inside = [self._weights.part(part, "inside") for part in parts]
                element = max(inside, key=lambda part: part.weight)
                return _Shape(sum(weights), sum(part.count for part in parts), element=element)
            case "contains":
                self.spent += times * (weights[0] * _UNIT + weights[0] * weights[1] * _NEEDLE)
            case "matches":
                instructions = self._patterns[node.children[1].literal]
                self.spent += times * instructions * (_INSTRUCTION_COMPILED + weights[0] * _INSTRUCTION_RUN)
            case "size" if _is_list(parts):
                pass
            case "string" | "bytes" | "dyn":
                self.spent += times * weights[0] * _UNIT
                return parts[0]
            case "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_":
                self.spent += times * min(weights) * _UNIT
            case _:
                self.spent += times * sum(weights) * _UNIT
        return _SCALAR

    def _comprehension(self, node: Node, scope: Mapping[str, _Shape], times: float) -> _Shape:
        over, start, condition, step, result = node.children
        values = self.cost(over, scope, times)
        begun = self.cost(start, scope, times)
        rounds = min(values.count, MAX_ITERATIONS)
        inner = min(times * rounds, MAX_ITERATIONS) if rounds else 0.0
        gathers = start.kind in ("list", "map")
        accumulator = node.iterated[-1]
        within = {
            **scope,
            **dict.fromkeys(node.iterated[:-1], self._weights.part(values, "element")),
            accumulator: begun,
        }
        self.cost(condition, within, inner)
        stepped = self.cost(step, within, inner)
        final = begun
        if gathers:
            # The list so far is copied in each round.
            self.spent += inner * rounds / 2 * _ELEMENT_COPIED
            element = self._weights.part(stepped, "inside")
            final = _Shape(rounds * (element.weight + _ENTRY_WEIGHT), rounds, element=element)
        return self.cost(result, {**scope, accumulator: final}, times)


def _held(value: Any, how: str, name: str) -> Iterable[Any]:
    if isinstance(value, list):
        return () if how == "field" else value
    if not isinstance(value, dict):
        return ()
    if how == "field":
        return (value[name],) if name in value else ()
    return value.values() if how == "inside" else value


def _is_list(parts: Sequence[_Shape]) -> bool:
    return any(part.count for part in parts)


def _count(value: Any) -> int:
    return len(value) if isinstance(value, (dict, list)) else 0


def _patterns(root: Node) -> Iterator[tuple[str, int]]:
    for node in nodes(root):
        if node.kind == "call" and node.name == "matches":
            pattern = node.children[1]
            if pattern.kind != "const" or not isinstance(pattern.literal, str):
                raise PatternRefused("a pattern must be a text in quotes: it is checked when the file is read")
            yield pattern.literal, _instructions(pattern.literal)


def _instructions(pattern: str) -> int:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        return max(1, int(re2.compile(pattern, options=options).programsize))
    except re2.error as error:
        fault = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        if "too large" in fault:
            fault = "it unfolds to too much: repeat less, or smaller sets of characters"
        raise PatternRefused(f"invalid regular expression: {fault}") from None
