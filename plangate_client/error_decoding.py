"""Failures as they come over the wire, made the types that they were on the other side."""

from __future__ import annotations

import grpc

from plangate_client import errors
from plangate_client.errors import PlangateError
from plangate_core.rpc.status import RpcFailure, from_rpc_error

_BY_REASON: dict[str, type[PlangateError]] = {
    "INVALID_FIELD": errors.InvalidField,
    "INVALID_FILTER": errors.InvalidFilter,
    "INVALID_PAGE_TOKEN": errors.InvalidPageToken,
    "NUMBER_NOT_EXACT": errors.NumberNotExact,
    "JOB_INVALID": errors.JobInvalid,
    "PROMPT_TOO_LONG": errors.PromptTooLong,
    "PLAN_NOT_FOUND": errors.PlanNotFound,
    "PROPOSAL_NOT_FOUND": errors.ProposalNotFound,
    "ACTION_NOT_FOUND": errors.ActionNotFound,
    "REQUEST_ID_REUSED": errors.RequestIdReused,
    "VERSION_CONFLICT": errors.VersionConflict,
    "LEASE_LOST": errors.LeaseLost,
    "PLAN_INVALID": errors.PlanInvalid,
    "ILLEGAL_TRANSITION": errors.IllegalTransition,
    "SELF_APPROVAL": errors.SelfApproval,
    "ALREADY_APPROVED": errors.AlreadyApproved,
    "ARGS_DIGEST_MISMATCH": errors.ArgsDigestMismatch,
    "NOT_APPROVED_BY_CALLER": errors.NotApprovedByCaller,
    "MODEL_REFUSED": errors.ModelRefused,
    "PROVIDER_REJECTED": errors.ProviderRejected,
    "CHECKPOINT_KEY_MISSING": errors.CheckpointKeyMissing,
    "MODEL_APPROVAL": errors.ModelApproval,
    "REQUIREMENT_LOWERED": errors.RequirementLowered,
    "FACTS_OUTSTANDING": errors.FactsOutstanding,
    "ROLE_MISSING": errors.RoleMissing,
    "REVIEWER_ROLE_MISSING": errors.ReviewerRoleMissing,
    "POLICY_DENIED": errors.PolicyDenied,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "MODEL_NOT_ALLOWED": errors.ModelNotAllowed,
    "OVERLOADED": errors.Overloaded,
    "BUDGET_EXHAUSTED": errors.BudgetExhausted,
    "PROVIDER_RATE_LIMITED": errors.ProviderRateLimited,
    "WATCH_TOO_SLOW": errors.WatchTooSlow,
    "PROVIDER_UNAVAILABLE": errors.ProviderUnavailable,
    "STORE_UNAVAILABLE": errors.StoreUnavailable,
    "DRAINING": errors.Draining,
    "DATABASE_UNAVAILABLE": errors.DatabaseUnavailable,
    "COMMIT_UNKNOWN": errors.CommitUnknown,
    "DEADLINE_TOO_SHORT": errors.DeadlineTooShort,
    "READ_TIMED_OUT": errors.ReadTimedOut,
    "PROVIDER_TIMEOUT": errors.ProviderTimeout,
    "REVISION_OUT_OF_RANGE": errors.RevisionOutOfRange,
    "LOG_MISMATCH": errors.LogMismatch,
    "INTERNAL": errors.InternalFailure,
}

_BY_CODE: dict[grpc.StatusCode, type[PlangateError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionFailed,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Exhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.INTERNAL: errors.InternalFailure,
}


def typed_error(failure: RpcFailure, service: str = "") -> PlangateError:
    """The typed error for a failure read from the wire."""
    kind = _BY_REASON.get(failure.reason) or _BY_CODE.get(failure.code, PlangateError)
    return kind(failure, service)


def error_from_rpc(error: grpc.aio.AioRpcError, service: str = "") -> PlangateError:
    """The typed error for what a stub raised."""
    return typed_error(from_rpc_error(error), service)
