"""The tree of a compiled CEL expression, read from its serialized form.

The form is cel-spec's checked.proto, for which Python has no messages here: fields are read by their numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet


@dataclass(frozen=True, slots=True)
class Node:
    """kind: const, ident, select, call, list, map, comprehension. name: the variable, field or function.

    literal: of a const; texts, bytes as text, numbers, truth values, None for null. offset: where it stands in the
    expression's text, in characters from 0.
    """

    kind: str
    name: str = ""
    children: tuple[Node, ...] = ()
    literal: Any = None
    iterated: tuple[str, ...] = ()
    offset: int = 0


def read_tree(serialized: bytes) -> Node:
    """The root of an expression: `serialized` is a CheckedExpr in an Any."""
    checked = _fields(AnyMessage.FromString(serialized).value)
    positions = [_fields(entry) for source in checked.get(5, ()) for entry in _fields(source).get(4, ())]
    offsets = {entry[1][0]: entry.get(2, [0])[0] for entry in positions if 1 in entry}
    return _node(checked[4][0], offsets)


def nodes(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in node.children:
        yield from nodes(child)


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The fields of a message whose type Python does not have here: number -> values as they come."""
    fields: dict[int, list[Any]] = {}
    for field in UnknownFieldSet(Empty.FromString(message)):  # type: ignore[attr-defined]  # a sequence, untyped
        fields.setdefault(field.field_number, []).append(field.data)
    return fields


def _node(message: bytes, offsets: Mapping[int, int]) -> Node:
    """A tree of cel-spec's syntax.proto. `offsets`: by the id of the expression."""
    fields = _fields(message)
    offset = offsets.get(fields.get(2, [0])[0], 0)

    def below(messages: Iterable[bytes]) -> tuple[Node, ...]:
        return tuple(_node(part, offsets) for part in messages)

    if 3 in fields:
        return Node("const", literal=_constant(_fields(fields[3][0])), offset=offset)
    if 4 in fields:
        return Node("ident", _text(_fields(fields[4][0]), 1), offset=offset)
    if 5 in fields:
        select = _fields(fields[5][0])
        return Node("select", _text(select, 2), below(select[1]), offset=offset)
    if 6 in fields:
        call = _fields(fields[6][0])
        return Node("call", _text(call, 2), below((*call.get(1, ()), *call.get(3, ()))), offset=offset)
    if 7 in fields:
        return Node("list", children=below(_fields(fields[7][0]).get(1, ())), offset=offset)
    if 8 in fields:
        entries = [_fields(entry) for entry in _fields(fields[8][0]).get(2, ())]
        return Node("map", children=below(entry[4][0] for entry in entries), offset=offset)
    if 9 in fields:
        loop = _fields(fields[9][0])
        names = tuple(_text(loop, number) for number in (1, 8, 3) if number in loop)
        parts = below(loop[number][0] for number in (2, 4, 5, 6, 7))
        return Node("comprehension", children=parts, iterated=names, offset=offset)
    return Node("const", offset=offset)


def _constant(fields: Mapping[int, list[Any]]) -> Any:
    """The value of a cel.expr.Constant: null 1, bool 2, int64 3, uint64 4, double 5, string 6, bytes 7."""
    for number, values in fields.items():
        value = values[0]
        if number in (6, 7):
            return value.decode("utf-8", "replace")
        if number == 2:
            return bool(value)
        if number == 3:
            return value - (1 << 64) if value >= 1 << 63 else value
        if number == 4:
            return value
        if number == 5:
            return struct.unpack("<d", struct.pack("<Q", value))[0]
    return None


def _text(fields: Mapping[int, list[Any]], number: int) -> str:
    return bytes(fields[number][0]).decode() if number in fields else ""
