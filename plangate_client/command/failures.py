"""Failed calls: one line for people and an exit status for programs."""

from __future__ import annotations

from plangate_client import errors
from plangate_client.command.exit_status import ExitStatus

_STATUS: tuple[tuple[type[errors.PlangateError], ExitStatus], ...] = (
    (errors.InvalidRequest, ExitStatus.USAGE),
    (errors.NotFound, ExitStatus.NOT_FOUND),
    (errors.Conflict, ExitStatus.CONFLICT),
    (errors.ModelRefused, ExitStatus.OTHER),
    (errors.ProviderRejected, ExitStatus.OTHER),
    (errors.PreconditionFailed, ExitStatus.DENIED),
    (errors.PermissionDenied, ExitStatus.DENIED),
    (errors.Unauthenticated, ExitStatus.DENIED),
    (errors.BudgetExhausted, ExitStatus.OTHER),
    (errors.Exhausted, ExitStatus.UNAVAILABLE),
    (errors.Unavailable, ExitStatus.UNAVAILABLE),
    (errors.CommitUnknown, ExitStatus.UNAVAILABLE),
    (errors.DeadlineExceeded, ExitStatus.DEADLINE),
)


def status_of(error: errors.PlangateError) -> ExitStatus:
    """The status for a failed call."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), ExitStatus.OTHER)


def sentence(error: errors.PlangateError, targets: dict[str, str], *, cause: str = "") -> str:
    """One line: what happened and what to do.

    :param targets: service name -> the address that was called.
    :param cause: why the server cannot be reached, where that was found out.
    """
    if cause:
        return f"{_what(error, targets)}: {cause}"
    return f"{_what(error, targets)}{_advice(error)}"


def is_out_of_reach(error: errors.PlangateError) -> bool:
    """Whether no server answered: the failure is gRPC's own."""
    return isinstance(error, errors.Unavailable) and not error.reason


def _what(error: errors.PlangateError, targets: dict[str, str]) -> str:
    # gRPC's own sentences are long and for programmers.
    if not error.reason:
        server = f"the {error.service} at {targets.get(error.service, '?')}" if error.service else "the server"
        if isinstance(error, errors.Unavailable):
            return f"cannot reach {server}"
        if isinstance(error, errors.DeadlineExceeded):
            return f"{server} did not answer in time"
        if isinstance(error, errors.Unimplemented):
            return f"{server} does not offer this"
    return error.message.rstrip(".")


def _advice(error: errors.PlangateError) -> str:
    match error:
        case errors.VersionConflict():
            return ": look at it again with `plangate show`, and decide again"
        case errors.SelfApproval() | errors.ModelApproval():
            return ": somebody else must (--as NAME where the servers do not authenticate)"
        case errors.ReviewerRoleMissing() | errors.RoleMissing():
            return ": use an identity that has the role (--roles where the servers do not authenticate)"
        case errors.Unauthenticated():
            return " (PLANGATE_TOKEN or --token-file)"
        case errors.PlanInvalid() if error.generation is not None and error.generation.attempts:
            last = error.generation.attempts[-1]
            faults = "; ".join(f"{fault.path or 'reply'}: {fault.message}" for fault in last.errors[:3])
            return f". Last attempt: {faults}" if faults else ""
        case errors.PromptTooLong():
            return ": shorten it, or give less context"
        case errors.Unavailable() if not error.reason:
            return f": start it with `plangate up`, or name it with --{error.service or 'store'}"
        case errors.StoreUnavailable() if not error.retry_after_seconds:
            # The planner found out what must be mended.
            return ""
        case errors.ProviderUnavailable() | errors.StoreUnavailable() | errors.Draining():
            return ": try again in a moment"
        case errors.BudgetExhausted():
            return ": give it more with --token-budget"
        case errors.Exhausted() if error.retry_after_seconds:
            return f": try again in {error.retry_after_seconds:g} s"
        case errors.CommitUnknown():
            return ": repeat it with the same --request-id to find out"
        case errors.DeadlineExceeded() if not error.reason:
            return ": give it more time with --timeout"
        case _:
            return ""
