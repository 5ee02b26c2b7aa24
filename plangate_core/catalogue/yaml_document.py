"""Reads a YAML file that people wrote, strictly, and remembers on which line everything stood.

Only what JSON can say is accepted: a date, a tag or a non-text key is refused with its place, because a value that
YAML guessed would reach policy and arguments as something the author did not mean. Aliases may repeat a fragment,
but what they expand to counts against the size limit, so a few lines cannot become gigabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.reader import ReaderError

from plangate_core.catalogue.finding import dotted
from plangate_core.contract.limits import INEXACT_FROM
from plangate_core.process.regular_file import read_regular_file
from plangate_core.text.truncation import truncate

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 64
_MESSAGE_LIMIT = 1_000

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")

YamlPath = tuple[str | int, ...]


class Form(BaseModel):
    """What a part of a document must look like: unknown fields refused, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


F = TypeVar("F", bound=Form)


class DocumentInvalid(Exception):
    """The text cannot be used. `line` and `column` count from 1; 0 when the fault has no place in the text."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0, source: str = "") -> None:
        # It may quote what is wrong, which may be long.
        self.message = truncate(message, _MESSAGE_LIMIT)
        super().__init__(self.message)
        self.line = line
        self.column = column
        self.source = source

    def __str__(self) -> str:
        place = (
            f"{self.source or 'line'}:{self.line}:{self.column}: " if self.line else self.source and f"{self.source}: "
        )
        return f"{place}{self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML text says, and where it says it."""

    value: Any
    places: Mapping[YamlPath, tuple[int, int]]

    def place(self, path: YamlPath) -> tuple[int, int]:
        """Line and column of what is at `path`, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (0, 0))

    def fit(self, form: type[F]) -> F:
        """The value as a form. Raises DocumentInvalid for the first thing, in the order of the text, that is wrong."""
        try:
            return form.model_validate(self.value)
        except ValidationError as error:
            # A name that is not known first: it is often why another one is missing.
            first = min(
                error.errors(include_url=False),
                key=lambda found: (found["type"] == "missing", self.place(found["loc"])),
            )
            message = str(first["msg"]).removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                message = "there is no such field"
            elif first["type"] == "model_type":
                message = "a mapping is expected here"
            raise self.fault(self._known(first["loc"], first["type"] == "missing"), message) from None

    def _known(self, loc: YamlPath, missing: bool) -> YamlPath:
        """A place that pydantic names, without the names it gives to the members of a union."""
        path: YamlPath = ()
        for index, part in enumerate(loc):
            if (*path, part) in self.places or (missing and index == len(loc) - 1):
                path = (*path, part)
        return path

    def fault(self, path: YamlPath, message: str) -> DocumentInvalid:
        """An error at `path`, whose message begins with that path."""
        line, column = self.place(path)
        return DocumentInvalid(f"{dotted(path)}: {message}" if path else message, line=line, column=column)


def read_text(path: Path, kind: str) -> str:
    """The text of a file. `kind` is what to call it: "catalogue". Raises DocumentInvalid."""
    try:
        data = read_regular_file(path, MAX_BYTES + 1)
    except OSError as error:
        raise DocumentInvalid(f"cannot read the {kind} file: {error.strerror or error}", source=str(path)) from error
    if len(data) > MAX_BYTES:
        raise DocumentInvalid(f"the {kind} file is larger than {MAX_BYTES} bytes", source=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DocumentInvalid(f"the {kind} file is not UTF-8", line=line, column=1, source=str(path)) from error


def parse_document(text: str) -> Document:
    """Read one YAML document. Raises DocumentInvalid with the place of the first fault."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentInvalid(f"the text is larger than {MAX_BYTES} bytes")
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise DocumentInvalid(f"not YAML: {error.problem or error.context}", line=line, column=column) from error
    except ReaderError as error:
        # It counts bytes of UTF-8.
        before = text.encode("utf-8", "surrogatepass")[: error.position].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise DocumentInvalid(f"not YAML: {error.reason}", line=line, column=column) from error
    except yaml.YAMLError as error:
        raise DocumentInvalid("not YAML") from error
    if root is None:
        raise DocumentInvalid("the text is empty", line=1, column=1)
    reader = _Reader()
    value = reader.read(root, ())
    return Document(value, reader.places)


def _check_depth(text: str) -> None:
    # Before composing: the composer recurses, and a line of ten thousand brackets would exhaust the stack.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _at(event, f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(node: yaml.Node | yaml.Event, message: str) -> DocumentInvalid:
    mark = node.start_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return DocumentInvalid(message, line=line, column=column)


class _Reader:
    """Turns composed nodes into plain values. Walks an aliased node once for every place it appears in."""

    def __init__(self) -> None:
        self.places: dict[YamlPath, tuple[int, int]] = {}
        self._nodes = 0
        self._characters = 0

    def read(self, node: yaml.Node, path: YamlPath) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _at(node, f"more than {MAX_NODES} values, counting what aliases repeat")
        if isinstance(node, yaml.ScalarNode):
            self._count_text(node)
        if len(path) > MAX_DEPTH:
            raise _at(node, f"nested deeper than {MAX_DEPTH}, counting what aliases repeat")
        self.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            if node.tag != "tag:yaml.org,2002:map":
                raise _at(node, f"the tag {node.tag} is not allowed")
            return {key: self.read(value, (*path, key)) for key, value in self._pairs(node)}
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                raise _at(node, f"the tag {node.tag} is not allowed")
            return [self.read(value, (*path, index)) for index, value in enumerate(node.value)]
        return self._scalar(node)

    def _count_text(self, node: yaml.ScalarNode) -> None:
        # A long text that is repeated takes no memory here, but where it is written out: as the digest's input.
        self._characters += len(node.value)
        if self._characters > MAX_BYTES:
            raise _at(node, f"more than {MAX_BYTES} characters, counting what aliases repeat")

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _at(key_node, "merge keys (<<) are not supported: write the fields out")
            if not isinstance(key_node, yaml.ScalarNode):
                raise _at(key_node, "a key must be text")
            # Keys such as yes, no, on or 1 are meant as written, whatever YAML 1.1 makes of them.
            key = key_node.value
            if key in seen:
                raise _at(key_node, f"the key {key!r} is given twice")
            seen.add(key)
            self._count_text(key_node)
            yield key, value_node

    def _scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            return node.value
        if kind == "null":
            return None
        # YAML 1.1 reads no as false, 010 as 8 and 12:30 as 750. Who writes that means something else.
        if kind == "bool" and node.value.lower() in ("true", "false"):
            return node.value.lower() == "true"
        if kind == "int" and _INTEGER.fullmatch(node.value):
            # Python makes no number of thousands of digits.
            return _exact(node, int(node.value) if len(node.value) < 20 else INEXACT_FROM)
        if kind == "float" and _FLOAT.fullmatch(node.value) and math.isfinite(float(node.value)):
            return _exact(node, float(node.value))
        raise _at(node, f"{node.value!r} would be read as {kind}: put it in quotes")


def _exact(node: yaml.Node, number: int | float) -> int | float:
    if abs(number) >= INEXACT_FROM and float(number).is_integer():
        raise _at(node, "a whole number of 2^53 or more cannot be kept exactly: put it in quotes")
    return number
