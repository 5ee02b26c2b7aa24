"""Typed failures: what the servers raised becomes the same type again on this side of the wire.

The type is that of ErrorInfo's reason; where that is absent (a proxy, gRPC itself), that of the status code.
"""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import Message
from grpc import StatusCode
from plangate.errors.v1 import error_reason_pb2
from plangate.plan.v1 import plan_pb2

from plangate_core.rpc.status import RpcFailure, from_rpc_error

MessageT = TypeVar("MessageT", bound=Message)
_by_reason: dict[str, type[PlangateError]] = {}
_by_code: dict[StatusCode, type[PlangateError]] = {}


class PlangateError(Exception):
    """A call failed.

    failure: as it came over the wire. service: which server was called. code: the status code of the wire.
    reason: ErrorInfo's, for example "VERSION_CONFLICT"; empty when the failure came from gRPC itself.
    message: one sentence for people. metadata: ErrorInfo's. retry_after_seconds: when the server asks to come again.
    """

    def __init_subclass__(cls, *, reason: str = "", codes: tuple[StatusCode, ...] = ()) -> None:
        super().__init_subclass__()
        if reason:
            _by_reason[reason] = cls
        _by_code.update(dict.fromkeys(codes, cls))

    def __init__(self, failure: RpcFailure, service: str = "") -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.service = service
        self.code = failure.code
        self.reason = failure.reason
        self.message = failure.message
        self.metadata = failure.metadata
        self.retry_after_seconds = failure.retry_after_seconds

    @property
    def generation(self) -> plan_pb2.GenerationReport | None:
        """The model calls and what was wrong with the replies, where the failure carries them."""
        return self.detail(plan_pb2.GenerationReport)

    def detail(self, kind: type[MessageT]) -> MessageT | None:
        """The first detail message of a type, for example google.rpc's BadRequest."""
        return self.failure.detail(kind)


def typed_error(failure: RpcFailure, service: str = "") -> PlangateError:
    """The typed error for a failure read from the wire."""
    kind = _by_reason.get(failure.reason) or _by_code.get(failure.code, PlangateError)
    return kind(failure, service)


def error_from_rpc(error: grpc.aio.AioRpcError, service: str = "") -> PlangateError:
    """The typed error for what a stub raised."""
    return typed_error(from_rpc_error(error), service)


class InvalidRequest(PlangateError, codes=(StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE)):
    """The request is wrong as it stands: mend it."""


class InvalidField(InvalidRequest, reason="INVALID_FIELD"):
    """A field is missing or wrong."""


class InvalidFilter(InvalidRequest, reason="INVALID_FILTER"):
    """`filter` cannot be read."""


class InvalidPageToken(InvalidRequest, reason="INVALID_PAGE_TOKEN"):
    """`page_token` is not one of ours, or the question changed between pages."""


class NumberNotExact(InvalidRequest, reason="NUMBER_NOT_EXACT"):
    """A whole number that a double cannot hold."""


class JobInvalid(InvalidRequest, reason="JOB_INVALID"):
    """Jobs fail the catalogue's checks."""


class RevisionOutOfRange(InvalidRequest, reason="REVISION_OUT_OF_RANGE"):
    """A watch begins beyond the next revision."""


class PromptTooLong(InvalidRequest, reason="PROMPT_TOO_LONG"):
    """Prompt, context and catalogue are more than the model can read; the GenerationReport is a detail."""


class NotFound(PlangateError, codes=(StatusCode.NOT_FOUND,)):
    """There is no such thing."""


class PlanNotFound(NotFound, reason="PLAN_NOT_FOUND"):
    """There is no such plan."""


class ProposalNotFound(NotFound, reason="PROPOSAL_NOT_FOUND"):
    """There is no such proposal."""


class ActionNotFound(NotFound, reason="ACTION_NOT_FOUND"):
    """The catalogue has no such action."""


class Conflict(PlangateError, codes=(StatusCode.ALREADY_EXISTS, StatusCode.ABORTED)):
    """Somebody else was faster: read again and decide again."""


class VersionConflict(Conflict, reason="VERSION_CONFLICT"):
    """The resource changed since it was read."""

    @property
    def expected_version(self) -> int:
        """The version that the call named."""
        return int(self.metadata.get("expected_version", "0"))

    @property
    def current_version(self) -> int:
        """The version that the resource has."""
        return int(self.metadata.get("current_version", "0"))


class LeaseLost(Conflict, reason="LEASE_LOST"):
    """The lease ran out or somebody else holds it: stop working on it."""


class RequestIdReused(Conflict, reason="REQUEST_ID_REUSED"):
    """The same request_id came with other content."""


class PlanInvalid(PlangateError, reason="PLAN_INVALID"):
    """The model never gave a valid plan; the GenerationReport is a detail."""


class PreconditionFailed(PlangateError, codes=(StatusCode.FAILED_PRECONDITION,)):
    """Not in this state, or not by this person."""


class IllegalTransition(PreconditionFailed, reason="ILLEGAL_TRANSITION"):
    """The lifecycle has no such step."""

    @property
    def allowed_commands(self) -> tuple[str, ...]:
        """What the state allows."""
        detail = self.detail(error_reason_pb2.IllegalTransition)
        return tuple(detail.allowed_commands) if detail is not None else ()


class SelfApproval(PreconditionFailed, reason="SELF_APPROVAL"):
    """The requester cannot approve their own request."""


class AlreadyApproved(PreconditionFailed, reason="ALREADY_APPROVED"):
    """This reviewer approved this version already."""


class ArgsDigestMismatch(PreconditionFailed, reason="ARGS_DIGEST_MISMATCH"):
    """The args_digest sent is not the proposal's."""


class NotApprovedByCaller(PreconditionFailed, reason="NOT_APPROVED_BY_CALLER"):
    """The caller has no approval to withdraw."""


class ModelRefused(PreconditionFailed, reason="MODEL_REFUSED"):
    """The model declined to answer."""


class ProviderRejected(PreconditionFailed, reason="PROVIDER_REJECTED"):
    """The model's provider rejected the key, the account, the model or a parameter; the message says what to change."""


class ModelApproval(PreconditionFailed, reason="MODEL_APPROVAL"):
    """The identity that models act under cannot approve."""


class RequirementLowered(PreconditionFailed, reason="REQUIREMENT_LOWERED"):
    """Only the planner, for policy, may lower what the review of a proposal asks for."""


class FactsOutstanding(PreconditionFailed, reason="FACTS_OUTSTANDING"):
    """What reviewers are to see before they decide is still being fetched."""


class CheckpointKeyMissing(PreconditionFailed, reason="CHECKPOINT_KEY_MISSING"):
    """The store has no key to sign checkpoints with."""


class PermissionDenied(PlangateError, codes=(StatusCode.PERMISSION_DENIED,)):
    """The caller may not do this."""


class RoleMissing(PermissionDenied, reason="ROLE_MISSING"):
    """The caller lacks a role."""


class ReviewerRoleMissing(PermissionDenied, reason="REVIEWER_ROLE_MISSING"):
    """The proposal asks for reviewers of a role that the caller lacks."""


class PolicyDenied(PermissionDenied, reason="POLICY_DENIED"):
    """Policy denies what the revised proposal says."""


class ModelNotAllowed(PermissionDenied, reason="MODEL_NOT_ALLOWED"):
    """The planner's settings do not allow this model."""


class Unauthenticated(PlangateError, reason="UNAUTHENTICATED", codes=(StatusCode.UNAUTHENTICATED,)):
    """No credentials, or wrong ones."""


class Exhausted(PlangateError, codes=(StatusCode.RESOURCE_EXHAUSTED,)):
    """A limit was reached: come again after `retry_after_seconds`."""


class Overloaded(Exhausted, reason="OVERLOADED"):
    """Too much at once."""


class BudgetExhausted(Exhausted, reason="BUDGET_EXHAUSTED"):
    """Attempts used up the token budget; the GenerationReport is a detail."""


class ProviderRateLimited(Exhausted, reason="PROVIDER_RATE_LIMITED"):
    """The model's provider asks to slow down."""


class WatchTooSlow(Exhausted, reason="WATCH_TOO_SLOW"):
    """This watcher did not read fast enough; resume from `revision`."""

    @property
    def revision(self) -> int:
        """The revision to resume from."""
        return int(self.metadata.get("revision", "0"))


class Unavailable(PlangateError, codes=(StatusCode.UNAVAILABLE,)):
    """The server cannot be reached or cannot work now. Nothing was stored: the same call may be repeated."""


class ProviderUnavailable(Unavailable, reason="PROVIDER_UNAVAILABLE"):
    """The model's provider failed or cannot be reached."""


class StoreUnavailable(Unavailable, reason="STORE_UNAVAILABLE"):
    """The planner cannot reach the store."""


class Draining(Unavailable, reason="DRAINING"):
    """The server is shutting down."""


class DatabaseUnavailable(Unavailable, reason="DATABASE_UNAVAILABLE"):
    """The store cannot reach or write its database now."""


class CommitUnknown(PlangateError, reason="COMMIT_UNKNOWN"):
    """The connection broke during the commit: repeat it with the same request_id to find out whether it happened."""


class DeadlineExceeded(PlangateError, codes=(StatusCode.DEADLINE_EXCEEDED,)):
    """Time ran out."""


class DeadlineTooShort(DeadlineExceeded, reason="DEADLINE_TOO_SHORT"):
    """Too little time was left to begin."""


class ReadTimedOut(DeadlineExceeded, reason="READ_TIMED_OUT"):
    """A list or count had to look at too many rows: filter by a field that has an index."""


class ProviderTimeout(DeadlineExceeded, reason="PROVIDER_TIMEOUT"):
    """The model did not answer in time."""


class Unimplemented(PlangateError, codes=(StatusCode.UNIMPLEMENTED,)):
    """The server does not offer this call."""


class LogMismatch(PlangateError, reason="LOG_MISMATCH"):
    """The stored proposal is not what the log says of it: somebody changed the store's database."""


class InternalFailure(PlangateError, reason="INTERNAL", codes=(StatusCode.INTERNAL,)):
    """A fault of the server; its log has the cause under the request id."""
