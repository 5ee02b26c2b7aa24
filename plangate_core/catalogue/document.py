"""A document that people wrote: its value, where everything stands, and everything that is wrong with it.

Faults are recorded while the document is read and checked, and raised together, so that one run shows all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from plangate_core.catalogue.finding import dotted
from plangate_core.text.truncation import truncate

MAX_FAULTS = 100
_MESSAGE_LIMIT = 1_000

YamlPath = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, counted from 1; 0 and 0 for what has no place."""


class Form(BaseModel):
    """What a part of a document must look like: unknown fields refused, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


F = TypeVar("F", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `line` and `column` count from 1; 0 when it has no place in the text."""

    message: str
    line: int = 0
    column: int = 0

    def text(self, source: str = "") -> str:
        """On one line, as compilers write it: `source:line:column: message`."""
        place = f"{source or 'line'}:{self.line}:{self.column}: " if self.line else source and f"{source}: "
        return f"{place}{self.message}"


class DocumentInvalid(Exception):
    """The text cannot be used. `faults`: all that is wrong, in the order of the text; message, line and column are the
    first one's. `source` is the file, empty for text without one."""

    def __init__(
        self, message: str, *, line: int = 0, column: int = 0, source: str = "", more: Sequence[Fault] = ()
    ) -> None:
        # It may quote what is wrong, which may be long.
        self.message = truncate(message, _MESSAGE_LIMIT)
        super().__init__(self.message)
        self.line = line
        self.column = column
        self.source = source
        self.faults = (Fault(self.message, line, column), *more)

    @classmethod
    def of(cls, error: DocumentInvalid, source: str = "") -> Self:
        """The same error as this type, with the file's name."""
        return cls(error.message, line=error.line, column=error.column, source=source, more=error.faults[1:])

    def lines(self) -> list[str]:
        """One line for each fault."""
        return [fault.text(self.source) for fault in self.faults]

    def __str__(self) -> str:
        """The first fault, and how many more there are, on one line."""
        first, *others = self.lines()
        if not others:
            return first
        return f"{first} (and {len(others)} more {'fault' if len(others) == 1 else 'faults'})"


class Document:
    """What a text says, where it says it, and what is wrong with it."""

    def __init__(
        self,
        value: Any,
        places: Mapping[YamlPath, Place],
        ends: Mapping[YamlPath, Place],
        faults: Sequence[tuple[YamlPath, Place, str]],
        inexact: Mapping[YamlPath, str],
        guesses: Sequence[tuple[YamlPath, Place, str]],
    ) -> None:
        """places: where each value begins; ends: where each mapping ends. faults: found while the text was read.

        guesses: faults of values that were read as the text that they are.
        inexact: faults that `forgive` may take back: numbers that mean something in some places only.
        """
        self.value = value
        self._places = places
        self._ends = ends
        self._inexact = dict(inexact)
        self._faults = [(place, _fault(place, message)) for _, place, message in (*faults, *guesses)]
        self._faulty = {path for path, _, _ in (*faults, *guesses)}
        self.losses = tuple(_fault(place, message) for _, place, message in faults)
        """What of the text is not in the value."""
        self.guesses = tuple(_fault(place, message) for _, place, message in guesses)
        """What YAML versions read differently, and is text in the value."""

    def place(self, path: YamlPath) -> Place:
        """Line and column of what is at `path`, or of the nearest thing around it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, (0, 0))

    def at(self, path: YamlPath) -> Any:
        """The value at a path. Raises LookupError, TypeError when nothing is there."""
        value = self.value
        for part in path:
            value = value[part]
        return value

    def refuse(self, path: YamlPath, message: str, *, order: Place | None = None) -> None:
        """Record a fault at `path`, unless what stands there is known to be wrong already.

        order: where it comes among the others, when not at its place.
        """
        parts = [path[:length] for length in range(len(path) + 1)]
        if any(part in self._faulty or part in self._inexact for part in parts):
            return
        self._faulty.add(path)
        self._faults.append((order or self.place(path), self._at(path, message)))

    def forgive(self, path: YamlPath) -> None:
        """Take back that the number at `path` is inexact."""
        self._inexact.pop(path, None)

    def fit(self, form: type[F], path: YamlPath = ()) -> F | None:
        """The value at `path` as a form; None, and all that is wrong is recorded, when it does not fit."""
        try:
            return form.model_validate(self.at(path))
        except ValidationError as error:
            for found in error.errors(include_url=False):
                missing = found["type"] == "missing"
                message = str(found["msg"]).removeprefix("Value error, ")
                if found["type"] == "extra_forbidden":
                    message = "there is no such field"
                elif found["type"] == "model_type":
                    message = "a mapping is expected here"
                place = self._known(path, found["loc"], missing)
                # A name that is not known comes first: it is often why another one is missing.
                self.refuse(place, message, order=self._ends.get(place[:-1]) if missing else None)
            return None

    def _known(self, path: YamlPath, loc: YamlPath, missing: bool) -> YamlPath:
        """A place that pydantic names, without the names it gives to the members of a union."""
        for index, part in enumerate(loc):
            if (*path, part) in self._places or (missing and index == len(loc) - 1):
                path = (*path, part)
        return path

    def warning(self, path: YamlPath, message: str, source: str = "") -> str:
        """Something odd at `path`, on one line with its place."""
        return self._at(path, message).text(source)

    def raise_faults(self) -> None:
        """Raises DocumentInvalid with everything that was recorded, if anything was."""
        for path, message in self._inexact.items():
            self._faults.append((self.place(path), self._at(path, message)))
        if not self._faults:
            return
        first, *others = [fault for _, fault in sorted(self._faults, key=lambda entry: entry[0])]
        if len(others) >= MAX_FAULTS:
            others = [*others[: MAX_FAULTS - 1], Fault(f"{len(others) - MAX_FAULTS + 1} more faults are not shown")]
        raise DocumentInvalid(first.message, line=first.line, column=first.column, more=others)

    def _at(self, path: YamlPath, message: str) -> Fault:
        return _fault(self.place(path), f"{dotted(path)}: {message}" if path else message)


def _fault(place: Place, message: str) -> Fault:
    return Fault(truncate(message, _MESSAGE_LIMIT), *place)
