"""Conditions of policy rules, in CEL (Common Expression Language), by Google's own runtime.

The language has no loops but over lists, no side effects, and patterns that run in linear time. The runtime ends an
evaluation after 10,000 iterations and refuses expressions nested deeper than 32. What neither bounds is what one
iteration does, and the runtime holds the interpreter meanwhile: so length, macro nesting and the number of `+` are
limited here, at load, and what an evaluation can cost is worked out before it (condition_cost.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from cel_expr_python import cel

from plangate_core.text.truncation import truncate
from planner_service.governance.condition_cost import Cost, PatternRefused, Weights
from planner_service.governance.condition_tree import Node, nodes, read_tree

MAX_LENGTH = 2_000
MAX_MACRO_NESTING = 2
MAX_ADDITIONS = 8
# What map, filter and exists_one add what they find to; no condition can name it.
_FOUND_SO_FAR = "@result"
MAX_WORK_NANOSECONDS = 40e6
"""For all that a policy looks at to decide about one job. Nothing else happens in this process meanwhile."""

_VARIABLES = {
    "action": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "args": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "labels": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "assumed": cel.Type.List(cel.Type.STRING),
    "requester": cel.Type.STRING,
    "now": cel.Type.TIMESTAMP,
}


class ConditionInvalid(Exception):
    """The text is no condition; says why, and where in it."""


class ConditionFailed(Exception):
    """The condition gave no answer for these values, for example because an argument that it names is absent."""


class ConditionCompiler:
    """Compiles conditions over `action`, `args`, `labels`, `assumed`, `requester` and `now`."""

    def __init__(self) -> None:
        self._environment = cel.NewEnv(variables=_VARIABLES)

    def compile(self, text: str) -> Condition:
        """Raises ConditionInvalid: wrong syntax, unknown names, a result other than true or false, too much work."""
        if not text.strip():
            raise ConditionInvalid("is empty")
        if len(text) > MAX_LENGTH:
            raise ConditionInvalid(f"is longer than {MAX_LENGTH} characters")
        try:
            expression = self._environment.compile(text)
        except RuntimeError as error:
            raise ConditionInvalid(_first_fault(str(error))) from None
        try:
            tree = read_tree(expression.serialize())
            _check_work(tree)
            cost = Cost(tree)
        except PatternRefused as error:
            raise ConditionInvalid(str(error)) from None
        # DYN is what an argument alone has: whether it is a truth value shows when it is there.
        if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
            raise ConditionInvalid(f"must be true or false, but is {expression.return_type().name()}")
        return Condition(text, expression, tree, cost)

    def values(self, values: Mapping[str, Any]) -> Values:
        """Values for all variables, to be used for any number of conditions."""
        try:
            return Values(self._environment.Activation(dict(values)), values)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConditionFailed(_first_fault(str(error))) from None


class Values:
    """What the variables stand for, and how much work may still be done with them."""

    def __init__(self, activation: cel.Activation, variables: Mapping[str, Any]) -> None:
        self.activation = activation
        self._variables = variables
        self._left = MAX_WORK_NANOSECONDS

    @cached_property
    def weights(self) -> Weights:
        """Measured when a condition asks."""
        return Weights(self._variables)

    def spend(self, nanoseconds: float) -> None:
        """Take from what may be done. Raises ConditionFailed when that is more than is left."""
        self._left -= nanoseconds
        if self._left < 0:
            raise ConditionFailed("with values of this size it could take too long")


class Condition:
    """A compiled condition. `tree`: its expression, for those who check it against a catalogue."""

    def __init__(self, text: str, expression: cel.Expression, tree: Node, cost: Cost) -> None:
        self.text = text
        self.tree = tree
        self.time_dependent = any(node.kind == "ident" and node.name == "now" for node in nodes(tree))
        self._expression = expression
        self._cost = cost

    def holds(self, values: Values) -> bool:
        """Whether it is true. Raises ConditionFailed."""
        values.spend(self._cost.nanoseconds(values.weights))
        try:
            result = self._expression.eval(values.activation)
        except RuntimeError as error:
            raise ConditionFailed(_first_fault(str(error))) from None
        if result.type() == cel.Type.ERROR:
            raise ConditionFailed(_first_fault(str(result.value())))
        value = result.value()
        if not isinstance(value, bool):
            raise ConditionFailed(f"it is {result.type().name().lower()}, neither true nor false")
        return value


def _check_work(tree: Node) -> None:
    additions = [node for node in nodes(tree) if node.name == "_+_" and node.children[0].name != _FOUND_SO_FAR]
    if len(additions) > MAX_ADDITIONS:
        raise ConditionInvalid(f"has more than {MAX_ADDITIONS} additions")
    if _macro_nesting(tree) > MAX_MACRO_NESTING:
        raise ConditionInvalid(f"nests more than {MAX_MACRO_NESTING} of all, exists, exists_one, map and filter")


def _macro_nesting(node: Node) -> int:
    if node.kind != "comprehension":
        return max(map(_macro_nesting, node.children), default=0)
    # What it goes over is evaluated once, the rest in each round.
    over, *rounds = node.children
    return max(_macro_nesting(over), 1 + max(map(_macro_nesting, rounds)))


def _first_fault(message: str) -> str:
    """The runtime's message without its status name and its drawing of the text."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    first = re.sub(r"^[A-Z_]+: ", "", first)
    first = re.sub(r"^ERROR: <input>:(\d+):(\d+): ", r"at \1:\2: ", first)
    first = re.sub(r" \(in container ''\)$", "", first)
    first = re.sub(r" \[[A-Z_]+\]$", "", first)
    return truncate(first, 300)
