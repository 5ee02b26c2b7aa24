"""Typed errors to statuses: one table for all that the planner can fail with."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.errors import PlangateError
from plangate_core.rpc.status import RpcFailure, invalid_field, invalid_fields, not_found
from planner_service import errors
from planner_service.generation import errors as generation
from planner_service.messages.encoding import report_to_proto

# What the store says of a request that the planner's caller made: handed on as it is. Everything else that the store
# says (that the planner lacks a role, that a plan of ours is malformed) is between the two servers, hence INTERNAL.
_HANDED_ON = frozenset(
    {
        "PLAN_NOT_FOUND",
        "PROPOSAL_NOT_FOUND",
        "VERSION_CONFLICT",
        "ILLEGAL_TRANSITION",
        "INVALID_FIELD",
        "NUMBER_NOT_EXACT",
        "OVERLOADED",
        "COMMIT_UNKNOWN",
    }
)
_CODE = grpc.StatusCode
_STATUSES: dict[type, tuple[grpc.StatusCode, str]] = {
    errors.ProposalNotFound: (_CODE.NOT_FOUND, "PROPOSAL_NOT_FOUND"),
    errors.InvalidPageToken: (_CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
    errors.ModelNotAllowed: (_CODE.PERMISSION_DENIED, "MODEL_NOT_ALLOWED"),
    errors.PolicyDenied: (_CODE.PERMISSION_DENIED, "POLICY_DENIED"),
    errors.RoleMissing: (_CODE.PERMISSION_DENIED, "ROLE_MISSING"),
    errors.RequestIdReused: (_CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    errors.TooMany: (_CODE.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.PlanningTimedOut: (_CODE.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT"),
    errors.StreamNotRead: (_CODE.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW"),
    errors.StoreUnavailable: (_CODE.UNAVAILABLE, "STORE_UNAVAILABLE"),
    errors.StoreTimedOut: (_CODE.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
    generation.PlanInvalid: (_CODE.ABORTED, "PLAN_INVALID"),
    generation.ModelRefused: (_CODE.FAILED_PRECONDITION, "MODEL_REFUSED"),
    generation.BudgetExhausted: (_CODE.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED"),
    generation.RateLimited: (_CODE.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED"),
    generation.ProviderTimedOut: (_CODE.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT"),
    generation.PromptTooLong: (_CODE.INVALID_ARGUMENT, "PROMPT_TOO_LONG"),
    generation.ProviderRejected: (_CODE.FAILED_PRECONDITION, "PROVIDER_REJECTED"),
    generation.GenerationFailed: (_CODE.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
}
"""By the error's class, or the nearest above it."""


def map_error(error: Exception) -> RpcFailure | None:
    """The failure to answer with; None for a fault of ours."""
    match error:
        case PlangateError():
            return error.failure if error.reason in _HANDED_ON else None
        case errors.InvalidField():
            return invalid_field(error.path, error.description, reason=error.reason)
        case errors.JobsInvalid():
            return _jobs_invalid(error)
        case errors.ActionNotFound():
            return not_found("ACTION_NOT_FOUND", "action", error.name)
        case errors.PlanningRefused() | generation.GenerationFailed():
            code, reason = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
            metadata, details = _about(error)
            retry_after = error.retry_after_seconds
            if isinstance(error, errors.StoreUnavailable) and not error.cause:
                retry_after = retry_after or 1.0
            return RpcFailure(
                code, reason, str(error), metadata=metadata, details=details, retry_after_seconds=retry_after
            )
    return None


def reason_of(error: Exception) -> str:
    """The contract's reason for it: "INTERNAL" for a fault of ours."""
    failure = map_error(error)
    return "INTERNAL" if failure is None else failure.reason


def _about(error: errors.PlanningRefused | generation.GenerationFailed) -> tuple[dict[str, str], list[Message]]:
    """Metadata and details of its failure."""
    if isinstance(error, generation.GenerationFailed):
        report = error.report
        metadata = {"model": error.model, "attempts": str(len(report.attempts) if report else 0)}
        if isinstance(error, generation.BudgetExhausted):
            metadata["token_budget"] = str(error.token_budget)
        return metadata, [report_to_proto(report)] if report else []
    if isinstance(error, errors.ProposalNotFound):
        # As the store says it: the answer is the same for what the caller may not read and for what is not there.
        kind = proposal_pb2.Proposal.DESCRIPTOR.full_name
        resource = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=error.metadata["id"])
        return error.metadata, [resource]
    return error.metadata, []


def _jobs_invalid(error: errors.JobsInvalid) -> RpcFailure:
    fields: dict[str, str] = {}
    for found in error.errors:
        known = fields.get(found.path)
        fields[found.path] = f"{known}; {found.message}" if known else found.message
    failure = invalid_fields(fields, reason="JOB_INVALID")
    failure.metadata["errors"] = str(len(error.errors))
    return failure
