"""Page tokens: opaque, and of use only with the request that they came from.

A token says where the last page ended (the sort key and id of its last row), not how many rows were before it: rows
that come, go or change in between neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import TypeAlias

from store_service.domain.limits import INT64

_FORMAT = b"\x01"
_BINDING_BYTES = 8
_MAX_CHARACTERS = 1024

Position: TypeAlias = "tuple[int | str, ...]"


class InvalidPageToken(Exception):
    """Not one of ours, or of another request."""


def encode(position: Position, bound_to: Sequence[object]) -> str:
    """Make a token. `bound_to` is what must be the same in the next request: method, filter, order, ..."""
    payload = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_FORMAT + _binding(payload, bound_to) + payload).decode().rstrip("=")


def decode(token: str, bound_to: Sequence[object], shape: Sequence[type]) -> Position:
    """Read a token whose position has values of these types. Raises InvalidPageToken."""
    try:
        if len(token) > _MAX_CHARACTERS:
            raise InvalidPageToken
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        payload = data[1 + _BINDING_BYTES :]
        if data[:1] != _FORMAT or data[1 : 1 + _BINDING_BYTES] != _binding(payload, bound_to):
            raise InvalidPageToken
        position = json.loads(payload)
    except (ValueError, binascii.Error) as error:
        raise InvalidPageToken from error
    if not isinstance(position, list) or [type(value) for value in position] != list(shape):
        raise InvalidPageToken
    # Somebody may have put it together: what no database can look for is none of ours.
    if not all(_can_be_looked_for(value) for value in position):
        raise InvalidPageToken
    return tuple(position)


def _can_be_looked_for(value: int | str) -> bool:
    if isinstance(value, int):
        return value in INT64
    # JSON can say halves of characters, which are no UTF-8.
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _binding(payload: bytes, bound_to: Sequence[object]) -> bytes:
    """Ties a token to its request. Not a secret: a token grants nothing that the request would not."""
    return hashlib.sha256(repr(tuple(bound_to)).encode() + b"\x00" + payload).digest()[:_BINDING_BYTES]
