"""Canonical JSON: the fast way writes the same as RFC 8785's reference, whatever the value."""

from __future__ import annotations

import json
import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from store_service.domain.canonical import MAX_JSON_BYTES, Json, args_digest, canonical_object
from store_service.domain.errors import InvalidField, NumberNotExact

_EXACT = 2**53 - 1
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-_EXACT, _EXACT)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) <= _EXACT or not x.is_integer())
    | st.text(st.characters(exclude_categories=["Cs"]))
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
_objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), _values, max_size=5)


@given(_objects)
def test_same_bytes_as_the_reference_and_back_again(value: dict[str, Json]) -> None:
    text = canonical_object(value, "args")
    assert text == rfc8785.dumps(value).decode()
    again = json.loads(text)
    assert again == value
    assert canonical_object(again, "args") == text
    assert args_digest(canonical_object(again, "args")) == args_digest(text)


@given(_objects)
def test_order_of_keys_does_not_matter(value: dict[str, Json]) -> None:
    assert canonical_object(dict(reversed(value.items())), "args") == canonical_object(value, "args")


def test_digest_is_the_sha256_of_the_text() -> None:
    text = canonical_object({"b": 2, "a": "é", "c": 1.5}, "args")
    assert text == '{"a":"é","b":2,"c":1.5}'
    assert args_digest("{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_keys_sort_by_utf16_units() -> None:
    assert list(json.loads(canonical_object({"\U0001f600": 1, "\ufb33": 2}, "args"))) == ["\U0001f600", "\ufb33"]


@pytest.mark.parametrize("number", [_EXACT + 1, -_EXACT - 1, 10**30])
def test_numbers_a_double_cannot_hold(number: int) -> None:
    with pytest.raises(NumberNotExact) as refused:
        canonical_object({"a": [{"b": number}]}, "args")
    assert refused.value.path == "args.a[0].b"


def test_limits() -> None:
    nested: Json = {}
    for _ in range(33):
        nested = {"a": nested}
    for value in (nested, {"a": "x" * MAX_JSON_BYTES}, {"a": math.nan}, {"a": math.inf}, {"a": "\ud800"}):
        with pytest.raises(InvalidField):
            canonical_object(value, "args")  # type: ignore[arg-type]
