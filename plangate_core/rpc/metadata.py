"""What a call's metadata may be: small, and with one value for each key that says who calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import grpc

from plangate_core.rpc.correlation import ON_BEHALF_OF_KEY
from plangate_core.rpc.status import RpcFailure, invalid_field

ACTOR_KEY = "x-plangate-actor"
ROLES_KEY = "x-plangate-roles"
AUTHORIZATION_KEY = "authorization"
IDENTITY_KEYS = (AUTHORIZATION_KEY, ACTOR_KEY, ROLES_KEY, ON_BEHALF_OF_KEY)

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

# gRPC's own limit, which it applies only after the client has acknowledged it. Like gRPC, with 32 bytes an entry.
MAX_METADATA_BYTES = 16 * 1024
_ENTRY_BYTES = 32


def too_large(metadata: Metadata) -> RpcFailure | None:
    """The failure of a call with more metadata than MAX_METADATA_BYTES, or None."""
    size = sum([len(key) + len(value) + _ENTRY_BYTES for key, value in metadata])
    if size <= MAX_METADATA_BYTES:
        return None
    return RpcFailure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "INVALID_FIELD",
        f"the metadata has {size} bytes, more than the {MAX_METADATA_BYTES} that are taken",
    )


def refuse_repeated_identity(metadata: Metadata) -> None:
    """Raises RpcFailure if a key that says who calls has more than one value: which one counts would be a guess."""
    for key in IDENTITY_KEYS:
        if sum(1 for other, _ in metadata if other == key) > 1:
            raise invalid_field(key, "must be sent once")
