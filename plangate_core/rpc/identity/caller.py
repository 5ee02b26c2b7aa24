"""The identity that a call acts under, and which identities there may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from plangate_core.contract.scopes import EVERYTHING, Scope
from plangate_core.rpc.settings import RESERVED_PREFIX
from plangate_core.rpc.status import invalid_field

ANONYMOUS = "anonymous"
# ASCII: the planner sends its callers' identities on as metadata, which cannot hold anything else.
IDENTITY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
# The ASCII part of Unicode's confusable characters (UTS #39): O and 0; l, I, 1 and |; m and rn.
_LOOK_ALIKES = str.maketrans({"0": "o", "O": "o", "1": "l", "I": "l", "|": "l"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts. `via` is the service identity that carries the act for `identity`, empty when it acts itself.

    scope: what the credentials may read and execute.
    """

    identity: str
    roles: frozenset[str]
    authenticated: bool
    via: str = ""
    scope: Scope = EVERYTHING


_current_caller: ContextVar[Caller] = ContextVar("plangate_caller")


def current_caller() -> Caller:
    """The caller of the RPC that this code runs in. LookupError outside of one."""
    return _current_caller.get()


def set_current_caller(caller: Caller) -> None:
    """For the server interceptor, and for work done in somebody's name outside an RPC."""
    _current_caller.set(caller)


def checked_identity(value: str | bytes, field: str) -> str:
    """The value, if it can be an identity. Raises RpcFailure INVALID_ARGUMENT that names the field."""
    if not isinstance(value, str) or not IDENTITY.fullmatch(value):
        raise invalid_field(field, "must be 1 to 128 printable ASCII characters")
    if value.startswith(RESERVED_PREFIX):
        raise invalid_field(field, f"must not begin with {RESERVED_PREFIX!r}: those are the servers' own")
    return value


def look_alikes(identities: Iterable[str]) -> tuple[str, str] | None:
    """Two identities that differ by case or by characters that look alike only, or None."""
    by_case: dict[str, str] = {}
    by_look: dict[str, str] = {}
    for identity in dict.fromkeys(identities):
        for seen, key in ((by_case, identity.lower()), (by_look, appearance(identity))):
            if (other := seen.setdefault(key, identity)) != identity:
                return other, identity
    return None


def appearance(identity: str) -> str:
    """Equal for identities that look alike."""
    return " ".join(identity.translate(_LOOK_ALIKES).lower().replace("rn", "m").split())
