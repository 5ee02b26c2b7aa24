"""Texts of the catalogue with values in them: `--name={args.name}`.

    {args.name} {args.target.host}     one argument, as text: a string as it is, a number or truth value as JSON
    {args.names*}                      a list, one element of argv or parameter of query for each (nothing beside it)
    {args.filter:json} {args:json}     any value, or all arguments, as one JSON text
    {proposal.id} {proposal.plan_id} {proposal.attempt}
    {python} {catalogue_directory}     this interpreter, and where the executor's catalogue lies
    {{ }}                              braces

Values are put in once and never read as templates again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from plangate_core.contract.struct_codec import JsonObject, JsonValue

Form = Literal["text", "json", "spread"]

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ARGUMENT = re.compile(r"args((?:\.[A-Za-z_][A-Za-z0-9_-]*)*)(\*|:json)?")
_CONSTANTS = frozenset({"proposal.id", "proposal.plan_id", "proposal.attempt", "python", "catalogue_directory"})


class TemplateInvalid(ValueError):
    """The author of the catalogue wrote something that is no template; the message says what."""


class ArgumentMissing(Exception):
    """The argument is absent or null. `name` is dotted, without "args."."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the argument {name} is missing")
        self.name = name


class ArgumentRefused(Exception):
    """The value may not stand where the catalogue puts it; the message says why, on one line."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One `{...}`. `path` is the way into the arguments; empty with `constant` set for what is no argument."""

    path: tuple[str, ...] = ()
    form: Form = "text"
    constant: str = ""

    @property
    def is_argument(self) -> bool:
        """True when a requester or a model chose the value."""
        return not self.constant

    @property
    def name(self) -> str:
        """As the author wrote it, for messages."""
        return self.constant or ".".join(("args", *self.path))


@dataclass(frozen=True, slots=True)
class Values:
    """What placeholders stand for."""

    args: JsonObject
    constants: dict[str, str]

    def look_up(self, placeholder: Placeholder, *, may_be_null: bool = False) -> JsonValue:
        """The value. Raises ArgumentMissing, for null too unless it may be."""
        if placeholder.constant:
            return self.constants[placeholder.constant]
        value: JsonValue = self.args
        for name in placeholder.path:
            if not isinstance(value, dict) or name not in value:
                raise ArgumentMissing(".".join(placeholder.path))
            value = value[name]
        if value is None and not may_be_null:
            raise ArgumentMissing(".".join(placeholder.path))
        return value

    def text(self, placeholder: Placeholder) -> str:
        """The value as one text. Raises ArgumentMissing, ArgumentRefused."""
        value = self.look_up(placeholder)
        if placeholder.form == "json":
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return _scalar_text(value, placeholder.name)

    def elements(self, placeholder: Placeholder) -> list[str]:
        """The elements of a list, each as one text. Raises ArgumentMissing, ArgumentRefused."""
        value = self.look_up(placeholder)
        if not isinstance(value, list):
            raise ArgumentRefused(f"{placeholder.name} is not a list")
        if None in value:
            raise ArgumentRefused(f"{placeholder.name} holds null")
        return [_scalar_text(element, f"an element of {placeholder.name}") for element in value]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders, read once when the catalogue is loaded."""

    source: str
    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Read a text of the catalogue. Raises TemplateInvalid."""
        parts: list[str | Placeholder] = []
        literal = ""
        end = 0
        for match in _TOKEN.finditer(source):
            literal += source[end : match.start()]
            end = match.end()
            token = match[0]
            if token in ("{{", "}}"):
                literal += token[0]
            elif match[1] is None:
                raise TemplateInvalid(f"{source!r}: write {token * 2} for a brace")
            else:
                if literal:
                    parts.append(literal)
                    literal = ""
                parts.append(_placeholder(match[1], source))
        literal += source[end:]
        if literal:
            parts.append(literal)
        if "\0" in source:
            raise TemplateInvalid("a NUL character")
        return cls(source, tuple(parts))

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """In the order of the text."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))

    @property
    def holds_arguments(self) -> bool:
        """True when a requester or a model chooses a part of the text."""
        return any(placeholder.is_argument for placeholder in self.placeholders)

    @property
    def begins_with_argument(self) -> bool:
        """True when a value decides what the text begins with."""
        return bool(self.parts) and isinstance(self.parts[0], Placeholder) and self.parts[0].is_argument

    @property
    def whole(self) -> Placeholder | None:
        """The placeholder when the text is nothing else."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Placeholder) else None

    @property
    def literal(self) -> str | None:
        """The text when it holds no placeholder."""
        if not self.parts:
            return ""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, str) else None

    def fill(self, values: Values) -> str:
        """The text with values in it. Raises ArgumentMissing, ArgumentRefused."""
        return "".join(part if isinstance(part, str) else values.text(part) for part in self.parts)


def _scalar_text(value: JsonValue, name: str) -> str:
    """A string as it is, a number or truth value as JSON writes it.

    :raises ArgumentRefused: a list or an object, or a string with a NUL character.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise ArgumentRefused(f"{name} holds a NUL character")
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    kind = "a list" if isinstance(value, list) else "an object"
    raise ArgumentRefused(f"{name} is {kind} where the catalogue takes one value")


def _placeholder(text: str, source: str) -> Placeholder:
    if text in _CONSTANTS:
        return Placeholder(constant=text)
    match = _ARGUMENT.fullmatch(text)
    if match is None:
        raise TemplateInvalid(f"{source!r}: there is no {{{text}}}; write {{{{ for a brace")
    path = tuple(match[1].split(".")[1:])
    form: Form = "spread" if match[2] == "*" else "json" if match[2] else "text"
    if not path and form != "json":
        raise TemplateInvalid(f"{source!r}: all arguments at once are {{args:json}}")
    return Placeholder(path, form)
