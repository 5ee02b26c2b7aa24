"""Conditions of policy rules, in CEL (Common Expression Language), by Google's own runtime.

The language has no loops but over lists, no side effects, and patterns that run in linear time. The runtime ends an
evaluation after 10,000 iterations and refuses expressions nested deeper than 32. What neither bounds is copying
(`x + x` of a long text inside nested macros), and it holds the interpreter while it runs: so length, macro nesting and
the number of `+` are limited here, at load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel

MAX_LENGTH = 2_000
MAX_MACRO_NESTING = 2
MAX_ADDITIONS = 8

_VARIABLES = {
    "action": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "args": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "labels": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "requester": cel.Type.STRING,
    "now": cel.Type.TIMESTAMP,
}
_TEXT = r"""[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
_LITERAL = re.compile(_TEXT, re.DOTALL)
_MATCHES = re.compile(rf"\.matches\(\s*({_TEXT})\s*\)", re.DOTALL)
_MACRO_OR_PARENTHESIS = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(|\(|\)")


class ConditionInvalid(Exception):
    """The text is no condition; says why, and where in it."""


class ConditionFailed(Exception):
    """The condition gave no answer for these values, for example because an argument that it names is absent."""


class ConditionCompiler:
    """Compiles conditions over `action`, `args`, `labels`, `requester` and `now`."""

    def __init__(self) -> None:
        self._environment = cel.NewEnv(variables=_VARIABLES)

    def compile(self, text: str) -> Condition:
        """Raises ConditionInvalid: wrong syntax, unknown names, a result other than true or false, too much work."""
        _check_size(text)
        try:
            expression = self._environment.compile(text)
        except RuntimeError as error:
            raise ConditionInvalid(_first_fault(str(error))) from None
        self._check_patterns(text)
        # DYN is what an argument alone has: whether it is a truth value shows when it is there.
        if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
            raise ConditionInvalid(f"must be true or false, but is {expression.return_type().name()}")
        return Condition(text, expression)

    def _check_patterns(self, text: str) -> None:
        # The runtime would only notice when the rule is needed, and then deny.
        for literal in _MATCHES.findall(text):
            result = self._environment.compile(f"''.matches({literal})").eval()
            if result.type() == cel.Type.ERROR:
                raise ConditionInvalid(_first_fault(str(result.value())))

    def values(self, values: Mapping[str, Any]) -> Values:
        """Values for all variables, to be used for any number of conditions."""
        try:
            return Values(self._environment.Activation(dict(values)))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConditionFailed(_first_fault(str(error))) from None


class Values:
    """What the variables stand for."""

    def __init__(self, activation: cel.Activation) -> None:
        self.activation = activation


class Condition:
    """A compiled condition."""

    def __init__(self, text: str, expression: cel.Expression) -> None:
        self.text = text
        self._expression = expression

    def holds(self, values: Values) -> bool:
        """Whether it is true. Raises ConditionFailed."""
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


def _check_size(text: str) -> None:
    if not text.strip():
        raise ConditionInvalid("is empty")
    if len(text) > MAX_LENGTH:
        raise ConditionInvalid(f"is longer than {MAX_LENGTH} characters")
    bare = _LITERAL.sub("''", text)
    if bare.count("+") > MAX_ADDITIONS:
        raise ConditionInvalid(f"has more than {MAX_ADDITIONS} additions")
    macros: list[bool] = []
    for parenthesis in _MACRO_OR_PARENTHESIS.findall(bare):
        if parenthesis == ")":
            if macros:
                macros.pop()
        else:
            macros.append(parenthesis != "(")
            if sum(macros) > MAX_MACRO_NESTING:
                raise ConditionInvalid(
                    f"nests more than {MAX_MACRO_NESTING} of all, exists, exists_one, map and filter"
                )


def _first_fault(message: str) -> str:
    """The runtime's message without its status name and its drawing of the text."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    first = re.sub(r"^[A-Z_]+: ", "", first)
    first = re.sub(r"^ERROR: <input>:(\d+):(\d+): ", r"at \1:\2: ", first)
    first = re.sub(r" \(in container ''\)$", "", first)
    first = re.sub(r" \[[A-Z_]+\]$", "", first)
    return first if len(first) <= 300 else first[:299] + "…"
