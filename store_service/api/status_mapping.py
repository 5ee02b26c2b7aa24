"""One table: the store's typed errors as gRPC codes and reasons. Nothing else decides what a client receives."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from plangate.errors.v1 import error_reason_pb2 as reasons

from plangate_core.rpc.status import RpcFailure
from plangate_core.text.truncation import truncate
from store_service.api.permissions import RoleMissing
from store_service.domain import errors
from store_service.filters import InvalidFilter
from store_service.page_tokens import InvalidPageToken
from store_service.queries import CheckpointKeyMissing, ReadTimedOut, RevisionOutOfRange, WatchTooSlow

_Code = grpc.StatusCode

STATUS_OF: Mapping[type[Exception], tuple[grpc.StatusCode, reasons.ErrorReason.ValueType]] = {
    errors.InvalidField: (_Code.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_FIELD),
    errors.NumberNotExact: (_Code.INVALID_ARGUMENT, reasons.ERROR_REASON_NUMBER_NOT_EXACT),
    InvalidFilter: (_Code.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_FILTER),
    InvalidPageToken: (_Code.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_PAGE_TOKEN),
    errors.PlanNotFound: (_Code.NOT_FOUND, reasons.ERROR_REASON_PLAN_NOT_FOUND),
    errors.ProposalNotFound: (_Code.NOT_FOUND, reasons.ERROR_REASON_PROPOSAL_NOT_FOUND),
    errors.RequestIdReused: (_Code.ALREADY_EXISTS, reasons.ERROR_REASON_REQUEST_ID_REUSED),
    errors.VersionConflict: (_Code.ABORTED, reasons.ERROR_REASON_VERSION_CONFLICT),
    errors.LeaseLost: (_Code.ABORTED, reasons.ERROR_REASON_LEASE_LOST),
    errors.IllegalTransition: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_ILLEGAL_TRANSITION),
    errors.SelfApproval: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_SELF_APPROVAL),
    errors.ModelApproval: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_MODEL_APPROVAL),
    errors.AlreadyApproved: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_ALREADY_APPROVED),
    errors.NotApprovedByCaller: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_NOT_APPROVED_BY_CALLER),
    errors.ArgsDigestMismatch: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_ARGS_DIGEST_MISMATCH),
    errors.RequirementLowered: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_REQUIREMENT_LOWERED),
    errors.FactsOutstanding: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_FACTS_OUTSTANDING),
    CheckpointKeyMissing: (_Code.FAILED_PRECONDITION, reasons.ERROR_REASON_CHECKPOINT_KEY_MISSING),
    RoleMissing: (_Code.PERMISSION_DENIED, reasons.ERROR_REASON_ROLE_MISSING),
    errors.NotTheCreator: (_Code.PERMISSION_DENIED, reasons.ERROR_REASON_ROLE_MISSING),
    errors.ReviewerRoleMissing: (_Code.PERMISSION_DENIED, reasons.ERROR_REASON_REVIEWER_ROLE_MISSING),
    errors.PolicyDenied: (_Code.PERMISSION_DENIED, reasons.ERROR_REASON_POLICY_DENIED),
    errors.LogMismatch: (_Code.DATA_LOSS, reasons.ERROR_REASON_LOG_MISMATCH),
    errors.Overloaded: (_Code.RESOURCE_EXHAUSTED, reasons.ERROR_REASON_OVERLOADED),
    WatchTooSlow: (_Code.RESOURCE_EXHAUSTED, reasons.ERROR_REASON_WATCH_TOO_SLOW),
    errors.Draining: (_Code.UNAVAILABLE, reasons.ERROR_REASON_DRAINING),
    errors.DatabaseUnavailable: (_Code.UNAVAILABLE, reasons.ERROR_REASON_DATABASE_UNAVAILABLE),
    errors.CommitUnknown: (_Code.UNKNOWN, reasons.ERROR_REASON_COMMIT_UNKNOWN),
    errors.DeadlinePassed: (_Code.DEADLINE_EXCEEDED, reasons.ERROR_REASON_DEADLINE_TOO_SHORT),
    ReadTimedOut: (_Code.DEADLINE_EXCEEDED, reasons.ERROR_REASON_READ_TIMED_OUT),
    RevisionOutOfRange: (_Code.OUT_OF_RANGE, reasons.ERROR_REASON_REVISION_OUT_OF_RANGE),
}

# The numbers and names a program acts on, as attributes of errors and as keys of ErrorInfo's metadata.
_TOLD = frozenset(
    {
        *("request_id", "expected_version", "current_version", "attempt", "current_attempt", "state", "command"),
        *("actor", "current_args_digest", "role", "actions", "rule", "limit", "revision", "head_revision", "index"),
    }
)


def map_error(error: Exception) -> RpcFailure | None:
    """The status that the client receives; None for what is not in the table, which is a fault of ours."""
    status = STATUS_OF.get(type(error))
    if status is None:
        return None
    code, number = status
    metadata, details = _facts(error)
    metadata |= {name: str(value) for name, value in vars(error).items() if name in _TOLD}
    return RpcFailure(
        code,
        reasons.ErrorReason.Name(number).removeprefix("ERROR_REASON_"),
        _sentence(error),
        metadata=metadata,
        details=details,
        retry_after_seconds=_retry_after_seconds(error),
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, errors.InvalidField):
        return f"{error.path} {error.description}"
    if isinstance(error, InvalidFilter):
        return f"filter {error}"
    if isinstance(error, InvalidPageToken):
        return "page_token is not one of ours, or another field changed since the page before"
    return truncate(str(error), 400)


def _facts(error: Exception) -> tuple[dict[str, str], list[Message]]:
    """ErrorInfo's metadata besides _TOLD, and further details."""
    match error:
        case errors.InvalidField(path=path, description=description):
            return {"field": path}, [_bad_request(path, description, "INVALID_FIELD")]
        case errors.NumberNotExact(path=path):
            description = "is a whole number of 2^53 or more: send it as a string"
            return {"field": path}, [_bad_request(path, description, "NUMBER_NOT_EXACT")]
        case InvalidFilter(position=position, problem=problem):
            description = f"at position {position}: {problem}"
            return {"position": str(position)}, [_bad_request("filter", description, "INVALID_FILTER")]
        case InvalidPageToken():
            return {}, [_bad_request("page_token", "does not belong to this request", "INVALID_PAGE_TOKEN")]
        case errors.PlanNotFound(plan_id=plan_id):
            return {"id": plan_id}, [_resource("plangate.plan.v1.Plan", plan_id)]
        case errors.ProposalNotFound(proposal_id=proposal_id) | errors.LogMismatch(proposal_id=proposal_id):
            return {"id": proposal_id}, [_resource("plangate.store.v1.Proposal", proposal_id)]
        case errors.IllegalTransition(state=state, command=command, allowed_commands=allowed):
            detail = reasons.IllegalTransition(state=state, command=command, allowed_commands=allowed)
            return {}, [detail]
        case errors.NotTheCreator():
            return {"role": "admin"}, []
        case ReadTimedOut(timeout_seconds=seconds):
            return {"timeout_seconds": f"{seconds:g}"}, []
        case errors.DeadlinePassed():
            return {"remaining_ms": "0"}, []
        case _:
            return {}, []


def _retry_after_seconds(error: Exception) -> float | None:
    if isinstance(error, errors.Overloaded):
        return error.retry_after_seconds
    if isinstance(error, (errors.Draining, errors.DatabaseUnavailable)):
        return 1.0
    return None


def _bad_request(path: str, description: str, reason: str) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(field=path, description=description, reason=reason)
    return error_details_pb2.BadRequest(field_violations=[violation])


def _resource(resource_type: str, name: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(resource_type=resource_type, resource_name=name)
