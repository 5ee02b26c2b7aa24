"""Reads a YAML file that people wrote, strictly, and remembers on which line everything stood.

Only what JSON can say is accepted: a date, a tag or a non-text key is refused with its place, because a value that
YAML guessed would reach policy and arguments as something the author did not mean. Aliases may repeat a fragment,
but what they expand to counts against the size limit, so a few lines cannot become gigabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from plangate_core.catalogue.document import Document, DocumentInvalid, Place, YamlPath
from plangate_core.contract.limits import INEXACT_FROM
from plangate_core.process.regular_file import read_regular_file

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 64

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
# YAML 1.1 reads these as text, YAML 1.2 and JSON as numbers.
_NUMBER_OF_YAML_1_2 = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+|0o[0-7]+")
_JSON = re.compile(r"(?:\s|#[^\n]*\n)*[{\[]")
_SURROGATE_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_INEXACT = "a whole number of 2^53 or more cannot be kept exactly: write it as text, in quotes, of type string"


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


def needs_quotes(text: str) -> bool:
    """Whether a text that stands without quotes would be read as a number here, though YAML 1.1 takes it for text."""
    return _NUMBER_OF_YAML_1_2.fullmatch(text) is not None


def parse_document(text: str, *, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES) -> Document:
    """Read one YAML document. Raises DocumentInvalid where nothing can be made of the text.

    What is wrong with single values is recorded in the document, whose `raise_faults` must be called.
    """
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise DocumentInvalid(f"the text is larger than {max_bytes} bytes")
    if _JSON.match(text):
        # JSON writes characters beyond U+FFFF as two escapes, which YAML does not join.
        text = _SURROGATE_PAIR.sub(_joined, text)
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
    reader = _Reader(max_bytes, max_nodes)
    value = reader.read(root, ())
    return Document(value, reader.places, reader.ends, reader.faults, reader.inexact, reader.guesses)


def _joined(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


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


def _place(node: yaml.Node | yaml.Event) -> Place:
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node.start_mark else (0, 0)


def _at(node: yaml.Node | yaml.Event, message: str) -> DocumentInvalid:
    line, column = _place(node)
    return DocumentInvalid(message, line=line, column=column)


class _Reader:
    """Turns composed nodes into plain values. Walks an aliased node once for every place it appears in."""

    def __init__(self, max_characters: int, max_nodes: int) -> None:
        self._max_characters = max_characters
        self._max_nodes = max_nodes
        self.places: dict[YamlPath, Place] = {}
        self.ends: dict[YamlPath, Place] = {}
        self.faults: list[tuple[YamlPath, Place, str]] = []
        self.guesses: list[tuple[YamlPath, Place, str]] = []
        self.inexact: dict[YamlPath, str] = {}
        self._nodes = 0
        self._characters = 0

    def read(self, node: yaml.Node, path: YamlPath) -> Any:
        self._nodes += 1
        if self._nodes > self._max_nodes:
            raise _at(node, f"more than {self._max_nodes} values, counting what aliases repeat")
        if isinstance(node, yaml.ScalarNode):
            self._count_text(node)
        if len(path) > MAX_DEPTH:
            raise _at(node, f"nested deeper than {MAX_DEPTH}, counting what aliases repeat")
        self.places[path] = _place(node)
        if isinstance(node, yaml.MappingNode):
            self.ends[path] = (node.end_mark.line + 1, node.end_mark.column + 1)
            if node.tag != "tag:yaml.org,2002:map":
                self._refuse(path, node, f"the tag {node.tag} is not allowed")
            return {key: self.read(value, (*path, key)) for key, value in self._pairs(node, path)}
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                self._refuse(path, node, f"the tag {node.tag} is not allowed")
            return [self.read(value, (*path, index)) for index, value in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _refuse(self, path: YamlPath, node: yaml.Node, message: str) -> None:
        self.faults.append((path, _place(node), message))

    def _count_text(self, node: yaml.ScalarNode) -> None:
        # A long text that is repeated takes no memory here, but where it is written out: as the digest's input.
        self._characters += len(node.value)
        if self._characters > self._max_characters:
            raise _at(node, f"more than {self._max_characters} characters, counting what aliases repeat")

    def _pairs(self, node: yaml.MappingNode, path: YamlPath) -> Iterator[tuple[str, yaml.Node]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._refuse((*path, "<<"), key_node, "merge keys (<<) are not supported: write the fields out")
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse((*path, ""), key_node, "a key must be text")
                continue
            # Keys such as yes, no, on or 1 are meant as written, whatever YAML 1.1 makes of them.
            key = key_node.value
            if key in seen:
                self._refuse((*path, key), key_node, f"the key {key!r} is given twice")
                continue
            seen.add(key)
            self._count_text(key_node)
            yield key, value_node

    def _scalar(self, node: yaml.ScalarNode, path: YamlPath) -> Any:
        text: str = node.value
        plain = not node.style
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str" and plain and _NUMBER_OF_YAML_1_2.fullmatch(text):
            kind = "int" if text.startswith("0o") else "float"
        if kind == "str" or (plain and text in ("=", "<<")):
            return text
        if kind == "null":
            return None
        # YAML 1.1 reads no as false, 010 as 8 and 12:30 as 750. Who writes that means something else.
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _INTEGER.fullmatch(text):
            # Python makes no number of thousands of digits.
            return self._exact(path, int(text) if len(text) < 20 else float(text[:300]))
        if kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return self._exact(path, float(text))
        message = f"{text!r} would be read as {kind}: put it in quotes"
        self.guesses.append((path, _place(node), message))
        return text

    def _exact(self, path: YamlPath, number: int | float) -> int | float:
        if abs(number) < INEXACT_FROM or not float(number).is_integer():
            return number
        self.inexact[path] = _INEXACT
        return float(number)
