"""Typed failures: what the servers raised becomes the same type again on this side of the wire.

    PlangateError
    ├── InvalidRequest            INVALID_ARGUMENT, OUT_OF_RANGE: mend the request
    │   ├── InvalidField  InvalidFilter  InvalidPageToken  NumberNotExact  JobInvalid  PromptTooLong
    │   ├── RevisionOutOfRange
    ├── NotFound
    │   ├── PlanNotFound  ProposalNotFound  ActionNotFound
    ├── Conflict                  ABORTED, ALREADY_EXISTS: somebody else was faster; read again and decide again
    │   ├── VersionConflict  LeaseLost  RequestIdReused
    ├── PlanInvalid               the model never gave a valid plan
    ├── PreconditionFailed        FAILED_PRECONDITION: not in this state, not by this person
    │   ├── IllegalTransition  SelfApproval  AlreadyApproved  ArgsDigestMismatch  NotApprovedByCaller
    │   ├── RequirementLowered  ModelRefused  ProviderRejected  ModelApproval  CheckpointKeyMissing
    │   ├── FactsOutstanding
    ├── PermissionDenied
    │   ├── RoleMissing  ReviewerRoleMissing  PolicyDenied  ModelNotAllowed
    ├── Unauthenticated
    ├── Exhausted                 RESOURCE_EXHAUSTED: come again after `retry_after_seconds`
    │   ├── Overloaded  BudgetExhausted  ProviderRateLimited  WatchTooSlow
    ├── Unavailable               nothing was stored; the same call may be repeated
    │   ├── ProviderUnavailable  StoreUnavailable  Draining  DatabaseUnavailable
    ├── CommitUnknown             may or may not have happened: repeat with the same request_id to find out
    ├── DeadlineExceeded
    │   ├── DeadlineTooShort  ReadTimedOut  ProviderTimeout
    ├── Unimplemented
    ├── LogMismatch               DATA_LOSS: somebody changed the store's database; the proposal is left as it is
    └── InternalFailure

`error_decoding` chooses a type by ErrorInfo's reason; where that is absent (a proxy, gRPC itself) by the status code.
"""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import Message
from plangate.errors.v1 import error_reason_pb2
from plangate.plan.v1 import plan_pb2

from plangate_core.rpc.status import RpcFailure

MessageT = TypeVar("MessageT", bound=Message)


class PlangateError(Exception):
    """A call failed. `failure`: as it came over the wire. `service`: which server was called."""

    def __init__(self, failure: RpcFailure, service: str = "") -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.service = service

    @property
    def code(self) -> grpc.StatusCode:
        """The status code of the wire."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """ErrorInfo's reason, for example "VERSION_CONFLICT". Empty when the failure came from gRPC itself."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """One sentence for people."""
        return self.failure.message

    @property
    def metadata(self) -> dict[str, str]:
        """ErrorInfo's metadata."""
        return self.failure.metadata

    @property
    def retry_after_seconds(self) -> float | None:
        """When the server asks to come again, from RetryInfo."""
        return self.failure.retry_after_seconds

    @property
    def generation(self) -> plan_pb2.GenerationReport | None:
        """The model calls and what was wrong with the replies, where the failure carries them."""
        return self.detail(plan_pb2.GenerationReport)

    def detail(self, kind: type[MessageT]) -> MessageT | None:
        """The first detail message of a type, for example google.rpc's BadRequest."""
        return self.failure.detail(kind)


class InvalidRequest(PlangateError):
    """The request is wrong as it stands."""


class InvalidField(InvalidRequest):
    """A field is missing or wrong."""


class InvalidFilter(InvalidRequest):
    """`filter` cannot be read."""


class InvalidPageToken(InvalidRequest):
    """`page_token` is not one of ours, or the question changed between pages."""


class NumberNotExact(InvalidRequest):
    """A whole number that a double cannot hold."""


class JobInvalid(InvalidRequest):
    """Jobs fail the catalogue's checks."""


class RevisionOutOfRange(InvalidRequest):
    """A watch begins beyond the next revision."""


class PromptTooLong(InvalidRequest):
    """Prompt, context and catalogue are more than the model can read; the GenerationReport is a detail."""


class NotFound(PlangateError):
    """There is no such thing."""


class PlanNotFound(NotFound):
    """There is no such plan."""


class ProposalNotFound(NotFound):
    """There is no such proposal."""


class ActionNotFound(NotFound):
    """The catalogue has no such action."""


class Conflict(PlangateError):
    """Somebody else was faster."""


class VersionConflict(Conflict):
    """The resource changed since it was read."""

    @property
    def expected_version(self) -> int:
        """The version that the call named."""
        return int(self.metadata.get("expected_version", "0"))

    @property
    def current_version(self) -> int:
        """The version that the resource has."""
        return int(self.metadata.get("current_version", "0"))


class LeaseLost(Conflict):
    """The lease ran out or somebody else holds it: stop working on it."""


class RequestIdReused(Conflict):
    """The same request_id came with other content."""


class PlanInvalid(PlangateError):
    """The model never gave a valid plan; the GenerationReport is a detail."""


class PreconditionFailed(PlangateError):
    """Not in this state, or not by this person."""


class IllegalTransition(PreconditionFailed):
    """The lifecycle has no such step."""

    @property
    def allowed_commands(self) -> tuple[str, ...]:
        """What the state allows."""
        detail = self.detail(error_reason_pb2.IllegalTransition)
        return tuple(detail.allowed_commands) if detail is not None else ()


class SelfApproval(PreconditionFailed):
    """The requester cannot approve their own request."""


class AlreadyApproved(PreconditionFailed):
    """This reviewer approved this version already."""


class ArgsDigestMismatch(PreconditionFailed):
    """The args_digest sent is not the proposal's."""


class NotApprovedByCaller(PreconditionFailed):
    """The caller has no approval to withdraw."""


class ModelRefused(PreconditionFailed):
    """The model declined to answer."""


class ProviderRejected(PreconditionFailed):
    """The model's provider rejected the key, the account, the model or a parameter; the message says what to change."""


class ModelApproval(PreconditionFailed):
    """The identity that models act under cannot approve."""


class RequirementLowered(PreconditionFailed):
    """Only the planner, for policy, may lower what the review of a proposal asks for."""


class FactsOutstanding(PreconditionFailed):
    """What reviewers are to see before they decide is still being fetched."""


class CheckpointKeyMissing(PreconditionFailed):
    """The store has no key to sign checkpoints with."""


class PermissionDenied(PlangateError):
    """The caller may not do this."""


class RoleMissing(PermissionDenied):
    """The caller lacks a role."""


class ReviewerRoleMissing(PermissionDenied):
    """The proposal asks for reviewers of a role that the caller lacks."""


class PolicyDenied(PermissionDenied):
    """Policy denies what the revised proposal says."""


class ModelNotAllowed(PermissionDenied):
    """The planner's settings do not allow this model."""


class Unauthenticated(PlangateError):
    """No credentials, or wrong ones."""


class Exhausted(PlangateError):
    """A limit was reached."""


class Overloaded(Exhausted):
    """Too much at once."""


class BudgetExhausted(Exhausted):
    """Attempts used up the token budget; the GenerationReport is a detail."""


class ProviderRateLimited(Exhausted):
    """The model's provider asks to slow down."""


class WatchTooSlow(Exhausted):
    """This watcher did not read fast enough; resume from `revision`."""

    @property
    def revision(self) -> int:
        """The revision to resume from."""
        return int(self.metadata.get("revision", "0"))


class Unavailable(PlangateError):
    """The server cannot be reached or cannot work now. Nothing was stored."""


class ProviderUnavailable(Unavailable):
    """The model's provider failed or cannot be reached."""


class StoreUnavailable(Unavailable):
    """The planner cannot reach the store."""


class Draining(Unavailable):
    """The server is shutting down."""


class DatabaseUnavailable(Unavailable):
    """The store cannot reach or write its database now."""


class CommitUnknown(PlangateError):
    """The connection broke while the commit was under way."""


class DeadlineExceeded(PlangateError):
    """Time ran out."""


class DeadlineTooShort(DeadlineExceeded):
    """Too little time was left to begin."""


class ReadTimedOut(DeadlineExceeded):
    """A list or count had to look at too many rows: filter by a field that has an index."""


class ProviderTimeout(DeadlineExceeded):
    """The model did not answer in time."""


class Unimplemented(PlangateError):
    """The server does not offer this call."""


class LogMismatch(PlangateError):
    """The stored proposal is not what the log says of it: somebody changed the store's database."""


class InternalFailure(PlangateError):
    """A fault of the server; its log has the cause under the request id."""
