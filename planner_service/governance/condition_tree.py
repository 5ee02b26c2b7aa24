"""The tree of a compiled CEL expression, read from its serialized form.

The form is cel-spec's checked.proto, for which Python has no messages here: fields are read by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet


@dataclass(frozen=True, slots=True)
class Node:
    """kind: const, ident, select, call, list, map, comprehension. name: the variable, field or function."""

    kind: str
    name: str = ""
    children: tuple[Node, ...] = ()
    literal: Any = None
    iterated: tuple[str, ...] = ()


def read_tree(serialized: bytes) -> Node:
    """The root of an expression: `serialized` is a CheckedExpr in an Any."""
    checked = AnyMessage.FromString(serialized).value
    return _node(_fields(checked)[4][0])


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


def _node(message: bytes) -> Node:
    """A tree of cel-spec's syntax.proto."""
    fields = _fields(message)
    if 3 in fields:
        return Node("const", literal=_constant(_fields(fields[3][0])))
    if 4 in fields:
        return Node("ident", _text(_fields(fields[4][0]), 1))
    if 5 in fields:
        select = _fields(fields[5][0])
        return Node("select", _text(select, 2), (_node(select[1][0]),))
    if 6 in fields:
        call = _fields(fields[6][0])
        return Node("call", _text(call, 2), tuple(_node(part) for part in (*call.get(1, ()), *call.get(3, ()))))
    if 7 in fields:
        return Node("list", children=tuple(_node(part) for part in _fields(fields[7][0]).get(1, ())))
    if 8 in fields:
        entries = [_fields(entry) for entry in _fields(fields[8][0]).get(2, ())]
        return Node("map", children=tuple(_node(entry[4][0]) for entry in entries))
    if 9 in fields:
        loop = _fields(fields[9][0])
        names = tuple(_text(loop, number) for number in (1, 8, 3) if number in loop)
        return Node(
            "comprehension", children=tuple(_node(loop[number][0]) for number in (2, 4, 5, 6, 7)), iterated=names
        )
    return Node("const")


def _constant(fields: Mapping[int, list[Any]]) -> Any:
    # Only texts and bytes have a size.
    return next((value.decode("utf-8", "replace") for number in (6, 7) for value in fields.get(number, ())), None)


def _text(fields: Mapping[int, list[Any]], number: int) -> str:
    return bytes(fields[number][0]).decode() if number in fields else ""
