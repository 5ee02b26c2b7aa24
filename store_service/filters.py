"""The filter language: a subset of AIP-160 (https://google.aip.dev/160), read into a tree.

    filter      = [ and ]
    and         = or { "AND" or }             as in AIP-160, OR binds tighter than AND: use parentheses
    or          = not { "OR" not }
    not         = "NOT" not | "(" and ")" | comparison
    comparison  = field operator value
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
    field       = name | map "." key          keys with other characters than a name has are quoted
    value       = 'text' | "text" | text without blanks, quotes, parentheses and operators

Times are RFC 3339, enum values are written by name, with or without the enum's prefix. A label that is not there
equals "". ":" searches for a part of a text. An argument that is not there equals nothing; a value without quotes may
be a number, true or false, or the text of the same characters. What a field is called, what it holds and which columns
that is, is not known here: see `queries`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from plangate_core.contract.limits import LABEL_KEY
from store_service.domain.canonical import canonical_object
from store_service.domain.errors import StoreError
from store_service.domain.instant import instant_of
from store_service.domain.limits import INT64

MAX_CHARACTERS = 4096
MAX_DEPTH = 32
MAX_COMPARISONS = 100

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<operator><=|>=|!=|=|<|>)
    | (?P<parenthesis>[()])
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<word>[^\s()<>=!"']+)
    | (?P<wrong>\S)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# More digits than microseconds are cut by the parser; fewer than a date and a time are not RFC 3339.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")


class InvalidFilter(Exception):
    """The filter cannot be read. `position` counts characters from 0."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"at position {position}: {problem}")
        self.position = position
        self.problem = problem


class Kind(Enum):
    """What a field holds."""

    TEXT = "text"
    INTEGER = "integer"
    TIME = "time"
    EXACT = "exact"
    """A text that is compared by = and != only."""
    NAME = "name"
    """One of a fixed set of names; compared by = and != only."""
    LABELS = "labels"
    """A map of texts; its members are compared by = and != only."""
    ARGUMENTS = "arguments"
    """Canonical JSON (RFC 8785); its members are compared by = and != only."""
    SEARCH = "search"
    """Texts in which `:` finds a part, whatever the case of its ASCII letters."""


@dataclass(frozen=True)
class Field:
    """A field that filters may speak of. `names` maps what may be written to the stored value, for Kind.NAME."""

    kind: Kind
    names: Mapping[str, str | int] | None = None


class Operator(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    HAS = ":"


Value: TypeAlias = "str | int"


@dataclass(frozen=True)
class Comparison:
    """`field operator value`; times are microseconds, names are stored values. `key` is set for labels.

    Arguments are compared by HAS, the value being a member as it stands in canonical JSON, with what is before it: that
    cannot be in there as anything else, since a quote inside a text is escaped.
    """

    field: str
    operator: Operator
    value: Value
    key: str | None = None


@dataclass(frozen=True)
class And:
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Not:
    term: Expression


Expression: TypeAlias = "Comparison | And | Or | Not"


def parse(text: str, fields: Mapping[str, Field]) -> Expression | None:
    """Read a filter over these fields; None for an empty one. Raises InvalidFilter."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidFilter(MAX_CHARACTERS, f"a filter has at most {MAX_CHARACTERS} characters")
    parser = _Parser(text, fields)
    return parser.whole() if parser.token else None


def predicate(expression: Expression, value_of: Callable[[str, str | None], Value]) -> bool:
    """Whether something matches; `value_of(field, key)` gives its values."""
    if isinstance(expression, Comparison):
        return _COMPARE[expression.operator](value_of(expression.field, expression.key), expression.value)
    if isinstance(expression, And):
        return all(predicate(term, value_of) for term in expression.terms)
    if isinstance(expression, Or):
        return any(predicate(term, value_of) for term in expression.terms)
    return not predicate(expression.term, value_of)


_COMPARE: dict[Operator, Callable[[Value, Value], bool]] = {
    Operator.EQUAL: lambda left, right: left == right,
    Operator.NOT_EQUAL: lambda left, right: left != right,
    Operator.LESS: lambda left, right: left < right,  # type: ignore[operator]  # parse() gave both one type
    Operator.LESS_OR_EQUAL: lambda left, right: left <= right,  # type: ignore[operator]
    Operator.GREATER: lambda left, right: left > right,  # type: ignore[operator]
    Operator.GREATER_OR_EQUAL: lambda left, right: left >= right,  # type: ignore[operator]
    Operator.HAS: lambda left, right: right in left,  # type: ignore[operator]
}
_EQUALITY = (Operator.EQUAL, Operator.NOT_EQUAL)
_MAPS = (Kind.LABELS, Kind.ARGUMENTS)
_EQUAL_OR_NOT = (Kind.EXACT, Kind.NAME, *_MAPS)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self._tokens = _tokens(text)
        self._end = len(text)
        self._comparisons = 0
        self.token: _Token | None = next(self._tokens, None)

    def whole(self) -> Expression:
        expression = self._and(MAX_DEPTH)
        if self.token:
            raise InvalidFilter(self.token.position, f"expected AND or OR, found {self.token.text!r}")
        return expression

    def _and(self, depth_left: int) -> Expression:
        terms = [self._or(depth_left)]
        while self._took("AND"):
            terms.append(self._or(depth_left))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _or(self, depth_left: int) -> Expression:
        terms = [self._not(depth_left)]
        while self._took("OR"):
            terms.append(self._not(depth_left))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _not(self, depth_left: int) -> Expression:
        position = self.token.position if self.token else self._end
        if depth_left == 0:
            raise InvalidFilter(position, f"nested deeper than {MAX_DEPTH}")
        if self._took("NOT"):
            return Not(self._not(depth_left - 1))
        if self._took("("):
            expression = self._and(depth_left - 1)
            if not self._took(")"):
                raise InvalidFilter(self.token.position if self.token else self._end, "expected )")
            return expression
        return self._comparison()

    def _comparison(self) -> Expression:
        name = self._next("the name of a field", "word")
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise InvalidFilter(name.position, f"more than {MAX_COMPARISONS} comparisons")
        if ":" in name.text:
            return self._search(name)
        field_name, field, key = self._field(name)
        if field.kind is Kind.SEARCH:
            return self._search(name)
        operator_token = self._next("one of = != < <= > >=", "operator")
        operator = Operator(operator_token.text)
        if field.kind in _EQUAL_OR_NOT and operator not in _EQUALITY:
            raise InvalidFilter(operator_token.position, f"{name.text} is compared by = and != only")
        value = self._next("a value", "word", "text")
        if field.kind is not Kind.ARGUMENTS:
            return Comparison(field_name, operator, _value(value, field), key)
        found = Or(tuple(Comparison(field_name, Operator.HAS, text) for text in _members(key or "", value)))
        return Not(found) if operator is Operator.NOT_EQUAL else found

    def _search(self, name: _Token) -> Expression:
        """field:value; a colon belongs to the word that it touches, on either side."""
        text, colon, value = name.text.partition(":")
        field = self._fields.get(text)
        if field is None or field.kind is not Kind.SEARCH:
            searched = ", ".join(known for known, field in self._fields.items() if field.kind is Kind.SEARCH)
            raise InvalidFilter(name.position, f"{text!r} is not searched by :{f'; {searched} is' if searched else ''}")
        if not colon:
            token = self._next("a colon", "word")
            if not token.text.startswith(":"):
                raise InvalidFilter(token.position, f"expected a colon, found {token.text!r}")
            value = token.text[1:]
        token = _Token("word", value, name.position) if value else self._next("a value", "word", "text")
        return Comparison(text, Operator.HAS, _value(token, field))

    def _field(self, name: _Token) -> tuple[str, Field, str | None]:
        base, dot, key = name.text.partition(".")
        field = self._fields.get(base)
        if field is None or (bool(dot) != (field.kind in _MAPS)):
            known = ", ".join(f"{n}.KEY" if f.kind in _MAPS else n for n, f in self._fields.items())
            raise InvalidFilter(name.position, f"no such field: {name.text!r}; there are {known}")
        if field.kind not in _MAPS:
            return base, field, None
        if not key:
            # labels."any key": the quoted part is a token of its own, right behind the dot.
            quoted = self._next("a key", "text")
            if quoted.position != name.position + len(name.text):
                raise InvalidFilter(quoted.position, "expected a key right behind the dot")
            key = _unquoted(quoted.text)
        if field.kind is Kind.LABELS and not LABEL_KEY.fullmatch(key):
            raise InvalidFilter(name.position, "a label's key is like [a-z][a-z0-9_.-]{0,62}")
        return base, field, key

    def _took(self, text: str) -> bool:
        if self.token and self.token.kind in ("word", "parenthesis") and self.token.text == text:
            self.token = next(self._tokens, None)
            return True
        return False

    def _next(self, expected: str, *kinds: str) -> _Token:
        token = self.token
        if token is None:
            raise InvalidFilter(self._end, f"expected {expected}, found the end")
        if token.kind not in kinds or (token.kind == "word" and token.text in ("AND", "OR", "NOT")):
            raise InvalidFilter(token.position, f"expected {expected}, found {token.text!r}")
        self.token = next(self._tokens, None)
        return token


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while match := _TOKEN.match(text, position):
        assert match.lastgroup is not None
        token = _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        if token.kind == "wrong":
            problem = "a quoted text does not end" if token.text in "\"'" else f"unexpected {token.text!r}"
            raise InvalidFilter(token.position, problem)
        yield token
        position = match.end()


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1])


def _value(token: _Token, field: Field) -> Value:
    text = _unquoted(token.text) if token.kind == "text" else token.text
    if field.kind is Kind.INTEGER:
        # int() would also take blanks, underscores and digits of other scripts, and long ones slowly.
        if not re.fullmatch(r"-?[0-9]{1,19}", text) or int(text) not in INT64:
            raise InvalidFilter(token.position, f"expected a whole number of 64 bits, found {token.text!r}")
        return int(text)
    if field.kind is Kind.TIME:
        try:
            if not _TIME.fullmatch(text):
                raise ValueError
            return instant_of(datetime.fromisoformat(text.upper()))
        except ValueError:
            raise InvalidFilter(
                token.position, f"expected a time such as 2026-01-31T12:00:00Z, found {token.text!r}"
            ) from None
    if field.kind is Kind.NAME:
        assert field.names is not None
        if text not in field.names:
            # Short and prefixed names mean the same; the first one of each value is shown.
            first = {value: name for name, value in reversed(list(field.names.items()))}
            short = ", ".join(name for name in field.names if name in first.values())
            raise InvalidFilter(token.position, f"expected one of {short}, found {token.text!r}")
        return field.names[text]
    if "\x00" in text:
        raise InvalidFilter(token.position, "a text holds no null characters")
    return text


def _members(key: str, token: _Token) -> list[str]:
    """What canonical JSON holds where an argument has this value."""
    text = _unquoted(token.text) if token.kind == "text" else token.text
    values: list[str | float | bool] = [text]
    if token.kind == "word" and text in ("true", "false"):
        values.append(text == "true")
    elif token.kind == "word" and _NUMBER.fullmatch(text):
        values.append(float(text))
    members: list[str] = []
    for value in values:
        try:
            member = canonical_object({key: value}, "filter")[1:-1]
        except StoreError:
            # No argument can hold it: a number that is not exact.
            continue
        # A number goes on until something else comes.
        ends = ",}" if isinstance(value, float) else ("",)
        members += [f"{begin}{member}{end}" for begin in "{," for end in ends]
    if not members or "\x00" in key + text:
        raise InvalidFilter(token.position, "no argument can have this name or value")
    return members
