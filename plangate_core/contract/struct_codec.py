"""google.protobuf.Struct and JSON values, without losing a digit.

Struct has doubles only. Whole ones become int here, and one that several integers could have been rounded to
(2^53 and beyond) is refused, never rounded: RFC 8785 draws the line at the same place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypeAlias

from google.protobuf import struct_pb2

from plangate_core.contract.limits import INEXACT_FROM, MAX_ARGS_BYTES, MAX_ARGS_DEPTH

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = "dict[str, JsonValue]"


class StructRefused(Exception):
    """A Struct that is not taken. `path` names the field, for example "action_args.targets[2].account"."""

    def __init__(self, path: str, description: str) -> None:
        super().__init__(f"{path} {description}")
        self.path = path
        self.description = description
        """A clause that follows the path: "is nested deeper than 32"."""


class NumberNotExact(StructRefused):
    """A number that a double cannot hold exactly, or that is no JSON number at all (NaN, infinity)."""


def struct_to_json(
    struct: struct_pb2.Struct,
    path: str = "value",
    *,
    byte_limit: int = MAX_ARGS_BYTES,
    depth_limit: int = MAX_ARGS_DEPTH,
) -> JsonObject:
    """Decode a Struct. `path` is its field's name for errors; the limits are on compact JSON in UTF-8 and on nesting.

    Raises StructRefused, of which NumberNotExact is one.
    """
    size = struct.ByteSize()
    # JSON is never longer than 6 times the protobuf bytes (\u001f for one byte), and rarely shorter than a quarter.
    if size > 8 * byte_limit:
        raise StructRefused(path, f"is larger than {byte_limit} bytes of JSON")
    value = _object(struct, path, depth_limit)
    if 6 * size > byte_limit and len(_compact(value)) > byte_limit:
        raise StructRefused(path, f"is larger than {byte_limit} bytes of JSON")
    return value


def json_to_struct(value: Mapping[str, JsonValue], path: str = "value") -> struct_pb2.Struct:
    """Encode a JSON object. Raises NumberNotExact for what a double cannot hold."""
    struct = struct_pb2.Struct()
    fields = struct.fields
    for key, member in value.items():
        _encode(member, fields[key], f"{path}.{key}")
    return struct


def _compact(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _object(struct: struct_pb2.Struct, path: str, depth_left: int) -> JsonObject:
    if depth_left == 0:
        raise StructRefused(path, "is nested too deep")
    fields = struct.fields
    taken: JsonObject = {}
    # items() of a protobuf map goes through Python code for each entry; iterating over keys does not.
    for key in fields:
        value = fields[key]
        # Most values are text, and paths are for errors only.
        taken[key] = (
            value.string_value if value.HasField("string_value") else _value(value, f"{path}.{key}", depth_left)
        )
    return taken


def _value(value: struct_pb2.Value, path: str, depth_left: int) -> JsonValue:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _number(value.number_value, path)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return _object(value.struct_value, path, depth_left - 1)
    if kind == "list_value":
        if depth_left == 1:
            raise StructRefused(path, "is nested too deep")
        return [
            _value(element, f"{path}[{index}]", depth_left - 1) for index, element in enumerate(value.list_value.values)
        ]
    # A Value without kind is not valid, but protobuf's own JSON writers make null of it; so do we.
    return None


def _number(number: int | float, path: str) -> int | float:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise NumberNotExact(path, "is not a number that JSON can hold")
        if not number.is_integer():
            return number
    if abs(number) >= INEXACT_FROM:
        raise NumberNotExact(
            path, "is a whole number of 2^53 or more, which may have been rounded: send it as a string"
        )
    return int(number)


def _encode(value: JsonValue, into: struct_pb2.Value, path: str) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, (int, float)):
        into.number_value = _number(value, path)
    elif isinstance(value, Mapping):
        # Touching the map makes an empty object an object instead of a Value without kind.
        into.struct_value.SetInParent()
        for key, member in value.items():
            _encode(member, into.struct_value.fields[key], f"{path}.{key}")
    else:
        into.list_value.SetInParent()
        for index, element in enumerate(value):
            _encode(element, into.list_value.values.add(), f"{path}[{index}]")
