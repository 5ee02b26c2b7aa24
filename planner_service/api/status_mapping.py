"""Typed errors to statuses: one table for all that the planner can fail with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.errors import PlangateError
from plangate_core.rpc.status import RpcFailure, invalid_field, invalid_fields, not_found, permission_denied
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


def map_error(error: Exception) -> RpcFailure | None:
    """The failure to answer with; None for a fault of ours."""
    if isinstance(error, PlangateError):
        return error.failure if error.reason in _HANDED_ON else None
    for kind in type(error).__mro__:
        make = _TABLE.get(kind)
        if make is not None:
            return make(error)
    return None


def reason_of(error: Exception) -> str:
    """The contract's reason for it: "INTERNAL" for a fault of ours."""
    failure = map_error(error)
    return "INTERNAL" if failure is None else failure.reason


def _generation(code: grpc.StatusCode, reason: str) -> Callable[[Any], RpcFailure]:
    def make(error: generation.GenerationFailed) -> RpcFailure:
        details: tuple[Message, ...] = () if error.report is None else (report_to_proto(error.report),)
        attempts = 0 if error.report is None else len(error.report.attempts)
        metadata = {"model": error.model, "attempts": str(attempts)}
        if isinstance(error, generation.BudgetExhausted):
            metadata["token_budget"] = str(error.token_budget)
        return RpcFailure(
            code,
            reason,
            error.message,
            metadata=metadata,
            details=details,
            retry_after_seconds=error.retry_after_seconds,
        )

    return make


def _jobs_invalid(error: errors.JobsInvalid) -> RpcFailure:
    fields: dict[str, str] = {}
    for found in error.errors:
        known = fields.get(found.path)
        fields[found.path] = f"{known}; {found.message}" if known else found.message
    failure = invalid_fields(fields, reason="JOB_INVALID")
    failure.metadata["errors"] = str(len(error.errors))
    return failure


def _proposal_not_found(error: errors.ProposalNotFound) -> RpcFailure:
    """As the store says it: the answer is the same for what the caller may not read and for what is not there."""
    resource = error_details_pb2.ResourceInfo(
        resource_type=proposal_pb2.Proposal.DESCRIPTOR.full_name, resource_name=error.proposal_id
    )
    metadata = {"id": error.proposal_id}
    return RpcFailure(_CODE.NOT_FOUND, "PROPOSAL_NOT_FOUND", str(error), metadata=metadata, details=(resource,))


def _failure(
    code: grpc.StatusCode,
    reason: str,
    metadata: Callable[[Any], dict[str, str]] = lambda error: {},
    retry_after_seconds: Callable[[Any], float | None] = lambda error: None,
) -> Callable[[Any], RpcFailure]:
    return lambda error: RpcFailure(
        code, reason, str(error), metadata=metadata(error), retry_after_seconds=retry_after_seconds(error)
    )


_TABLE: dict[type, Callable[[Any], RpcFailure]] = {
    errors.InvalidField: lambda error: invalid_field(error.path, error.description, reason=error.reason),
    errors.JobsInvalid: _jobs_invalid,
    errors.ActionNotFound: lambda error: not_found("ACTION_NOT_FOUND", "action", error.name),
    errors.ProposalNotFound: _proposal_not_found,
    errors.InvalidPageToken: _failure(_CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
    errors.ModelNotAllowed: _failure(_CODE.PERMISSION_DENIED, "MODEL_NOT_ALLOWED", lambda e: {"model": e.model}),
    errors.PolicyDenied: _failure(_CODE.PERMISSION_DENIED, "POLICY_DENIED", lambda e: {"rule": e.decision.rule}),
    errors.RoleMissing: lambda error: permission_denied("ROLE_MISSING", str(error), metadata={"role": error.roles[0]}),
    errors.RequestIdReused: _failure(_CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", lambda e: {"request_id": e.request_id}),
    errors.TooManyPlans: _failure(
        _CODE.RESOURCE_EXHAUSTED, "OVERLOADED", lambda e: {"limit": str(e.limit)}, lambda e: 1.0
    ),
    # One looks at all of history: seconds, not milliseconds.
    errors.TooManySimulations: _failure(
        _CODE.RESOURCE_EXHAUSTED, "OVERLOADED", lambda e: {"limit": str(e.limit)}, lambda e: 5.0
    ),
    errors.PlanningTimedOut: _failure(_CODE.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT", lambda e: {"model": e.model}),
    errors.StreamNotRead: _failure(_CODE.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW"),
    errors.StoreUnavailable: _failure(
        _CODE.UNAVAILABLE,
        "STORE_UNAVAILABLE",
        retry_after_seconds=lambda e: None if e.cause else e.retry_after_seconds or 1.0,
    ),
    errors.StoreTimedOut: _failure(_CODE.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
    generation.PlanInvalid: _generation(_CODE.ABORTED, "PLAN_INVALID"),
    generation.ModelRefused: _generation(_CODE.FAILED_PRECONDITION, "MODEL_REFUSED"),
    generation.BudgetExhausted: _generation(_CODE.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED"),
    generation.RateLimited: _generation(_CODE.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED"),
    generation.ProviderTimedOut: _generation(_CODE.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT"),
    generation.PromptTooLong: _generation(_CODE.INVALID_ARGUMENT, "PROMPT_TOO_LONG"),
    generation.ProviderRejected: _generation(_CODE.FAILED_PRECONDITION, "PROVIDER_REJECTED"),
    generation.ProviderFailed: _generation(_CODE.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    generation.GenerationFailed: _generation(_CODE.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
}
