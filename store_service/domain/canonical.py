"""Canonical JSON (RFC 8785): the one text form of arguments and results, and its digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import TypeAlias, Union

import rfc8785

from store_service.domain.errors import InvalidField, NumberNotExact

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]

MAX_JSON_BYTES = 64 * 1024
MAX_JSON_DEPTH = 32
# 2^53 itself is what 2^53 + 1 becomes as a double, so it is not certain to be what was meant; RFC 8785 excludes it too.
_EXACT = 2**53 - 1
# The default encoder's C code writes what RFC 8785 asks for, as long as there are no floats and all keys are ASCII
# (then sorting by code point and by UTF-16 unit is the same). rfc8785 is ten times slower.
_encode_plain = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_object(value: Mapping[str, Json], path: str, max_bytes: int = MAX_JSON_BYTES) -> str:
    """The canonical JSON text of an object.

    Raises InvalidField when it is too large, nested deeper than 32 or holds NaN or infinity, and NumberNotExact for
    whole numbers of 2^53 or more.
    """
    if not value:
        return "{}"
    plain = _inspect(value, path, 1)
    try:
        text = _encode_plain(value) if plain else rfc8785.dumps(dict(value)).decode()
        size = len(text) if text.isascii() else len(text.encode())
    except (ValueError, UnicodeEncodeError) as problem:
        raise InvalidField(path, f"cannot be written as canonical JSON: {problem}") from None
    if size > max_bytes:
        raise InvalidField(path, f"must be at most {max_bytes} bytes of JSON")
    return text


def args_digest(args_json: str) -> str:
    """SHA-256 (hex) of canonical JSON."""
    return hashlib.sha256(args_json.encode()).hexdigest()


def _inspect(value: object, path: str, depth: int) -> bool:
    """Checks one value and what is inside it; True when the plain encoder writes it canonically."""
    kind = type(value)
    if kind is str:
        return True
    if kind is int:
        if not -_EXACT <= value <= _EXACT:  # type: ignore[operator]
            raise NumberNotExact(path)
        return True
    if value is None or kind is bool:
        return True
    if depth > MAX_JSON_DEPTH:
        raise InvalidField(path, f"must be nested at most {MAX_JSON_DEPTH} deep")
    if kind is dict or isinstance(value, Mapping):
        plain = True
        for key, member in value.items():  # type: ignore[attr-defined]  # a mapping, one way or the other
            if not isinstance(key, str):
                raise InvalidField(path, "keys must be text")
            plain &= key.isascii()
            # Most values are text, and paths are for errors only.
            if type(member) is not str:
                plain &= _inspect(member, f"{path}.{key}", depth + 1)
        return plain
    if isinstance(value, list | tuple):
        plain = True
        for position, member in enumerate(value):
            plain &= _inspect(member, f"{path}[{position}]", depth + 1)
        return plain
    if kind is float:
        # Written without a point, so it would come back as a whole number.
        if value.is_integer() and abs(value) > _EXACT:  # type: ignore[attr-defined, arg-type]
            raise NumberNotExact(path)
        return False
    raise InvalidField(path, f"{kind.__name__} is not JSON")
