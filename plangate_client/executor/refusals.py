"""Which failures of the store are its answer, and which an executor waits out."""

from __future__ import annotations

from plangate_client.errors import (
    Conflict,
    InternalFailure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PlangateError,
    PreconditionFailed,
    Unauthenticated,
    Unimplemented,
)

LEASE_IS_LOST = (Conflict, NotFound, PreconditionFailed)
"""What the store says of a lease that the executor does not hold, or does not hold any more."""
_REFUSALS = (InvalidRequest, PermissionDenied, Unauthenticated, Unimplemented, InternalFailure, *LEASE_IS_LOST)


def is_refusal(error: PlangateError) -> bool:
    """True when the same call would be answered in the same way again.

    False for a store that is away, busy or slow, and for a commit whose outcome is unknown: the same call with the same
    request_id is worth another try.
    """
    return isinstance(error, _REFUSALS)
