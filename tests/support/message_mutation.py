"""Messages that nobody would send: every field filled at random, or bytes of a good one changed."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_TEXTS = (
    "",
    "a",
    "../..",
    "\x00",
    "é" * 40,
    "x" * 5_000,
    "' OR 1=1 --",
    "{{ secret }}",
    'name = "',
    "0" * 36,
    "\U0001f4a5",
)
_NUMBERS = (0, 1, -1, 7, 2**31 - 1, -(2**31))
_LARGE = (0, 1, -1, 2**63 - 1, -(2**63))
_MAX_DEPTH = 4


def random_message(descriptor: Descriptor, chance: random.Random, depth: int = 0) -> Message:
    """A message of this type with about half of its fields set."""
    message: Any = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if chance.random() < 0.5 or (field.message_type is not None and depth >= _MAX_DEPTH):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            values = [_value(field, chance, depth) for _ in range(chance.choice((0, 1, 2, 30)) if depth < 2 else 1)]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_value(field, chance, depth))
        else:
            setattr(message, field.name, _value(field, chance, depth))
    return message  # type: ignore[no-any-return]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some changed, some missing and some twice."""
    changed = bytearray(data or b"\x00")
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at : at + chance.randrange(1, 5)]
            case _:
                changed[at:at] = changed[at : at + chance.randrange(1, 20)]
        if not changed:
            changed = bytearray(b"\xff")
    return bytes(changed)


def _value(field: FieldDescriptor, chance: random.Random, depth: int) -> Any:
    if field.message_type is not None:
        return random_message(field.message_type, chance, depth + 1)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.randbytes(9) if field.type == FieldDescriptor.TYPE_BYTES else chance.choice(_TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return chance.choice((0.0, -1.5, float("nan"), float("inf"), 1e300 if field.cpp_type == 5 else 1.0))
        case FieldDescriptor.CPPTYPE_ENUM:
            return chance.choice((0, 1, 2, 99))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return chance.choice((0, 1, 2**32 - 1))
        case FieldDescriptor.CPPTYPE_INT64:
            return chance.choice(_LARGE)
        case _:
            return chance.choice(_NUMBERS)
