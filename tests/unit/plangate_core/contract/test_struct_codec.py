"""Structs hold JSON without losing a digit, or are refused by the path of what cannot be held."""

from __future__ import annotations

import math

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from plangate_core.contract.struct_codec import (
    JsonValue,
    NumberNotExact,
    StructRefused,
    json_to_struct,
    struct_to_json,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer()
)
values = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_what_goes_in_comes_out(value: dict[str, JsonValue]) -> None:
    back = struct_to_json(json_to_struct(value), "args", depth_limit=1000)
    assert back == value
    assert repr(back).count("True") == repr(value).count("True")


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), 1e300, math.nan, math.inf, -math.inf])
def test_inexact_numbers_are_refused_by_path(number: float) -> None:
    struct = struct_pb2.Struct()
    struct.fields["a"].list_value.values.add().struct_value.fields["b c"].number_value = number
    with pytest.raises(NumberNotExact) as refused:
        struct_to_json(struct, "args")
    assert refused.value.path == "args.a[0].b c"
    with pytest.raises(NumberNotExact) as refused:
        json_to_struct({"x": [number]}, "args")
    assert refused.value.path == "args.x[0]"
    with pytest.raises(NumberNotExact):
        json_to_struct({"x": 2**53})


def test_whole_numbers_are_integers() -> None:
    back = struct_to_json(json_to_struct({"a": 3, "b": -0.0, "c": 2.5}), "args")
    assert {name: type(number) for name, number in back.items()} == {"a": int, "b": int, "c": float}


def test_size_is_that_of_the_json() -> None:
    assert struct_to_json(json_to_struct({"a": "x" * 92}), "args", byte_limit=100)
    with pytest.raises(StructRefused, match="larger than 100 bytes"):
        struct_to_json(json_to_struct({"a": "x" * 93}), "args", byte_limit=100)
    # Escapes count: one byte of text is six of JSON.
    with pytest.raises(StructRefused, match="larger than 100 bytes"):
        struct_to_json(json_to_struct({"a": "\x01" * 20}), "args", byte_limit=100)
    with pytest.raises(StructRefused, match="larger than 100 bytes"):
        struct_to_json(json_to_struct({"a": "x" * 10_000}), "args", byte_limit=100)


def test_depth_counts_objects_and_lists() -> None:
    assert struct_to_json(json_to_struct({"a": [{"b": 1}]}), "args", depth_limit=3)
    for too_deep in ({"a": [{"b": []}]}, {"a": {"b": {"c": {}}}}):
        with pytest.raises(StructRefused, match="too deep"):
            struct_to_json(json_to_struct(too_deep), "args", depth_limit=3)  # type: ignore[arg-type]


def test_a_value_without_a_kind_is_null() -> None:
    struct = struct_pb2.Struct()
    struct.fields["a"].SetInParent()
    assert struct_to_json(struct, "args") == {"a": None}
