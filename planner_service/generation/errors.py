"""Why a generation ended without a plan. One type per cause; each carries the report of all attempts so far.

    GenerationFailed
    +-- PlanInvalid                 the model answered, but never with a valid plan
    |   +-- ReplyEmpty
    |   +-- ReplyTruncated          cut off at the output limit
    |   +-- ReplyTooLarge           more bytes than we read
    |   +-- ReplyNotJson            broken beyond repair
    |   +-- SchemaViolated          missing jobs, wrong types, unknown action
    |   +-- MeaningViolated         bad arguments, dependencies
    |   +-- WrongToolCalled
    |   +-- ExtraToolCalls
    +-- ModelRefused                the model declined
    +-- BudgetExhausted             tokens spent
    +-- ProviderFailed              no answer to judge
        +-- RateLimited             HTTP 429
        +-- ProviderUnavailable     the provider is down, or its circuit is open
        |   +-- CircuitOpen         all models' providers failed lately; nobody was called
        |   +-- ConnectionLost
        |   +-- ServerFailed        HTTP 5xx, or an answer that is not the protocol
        +-- ProviderTimedOut
        +-- CredentialsRejected     HTTP 401, 403
        +-- RequestRejected         other HTTP 4xx: unknown model, unsupported parameter
            +-- PromptTooLong       more than the model can read

Messages name the fact and the model. They never hold prompts, replies, or the text of an SDK's exception (which may
hold both), so they are fit for a status and for a log.
"""

from __future__ import annotations

from typing import ClassVar

from planner_service.generation.attempts import AttemptOutcome, Finding, GenerationReport


class GenerationFailed(Exception):
    """No plan came of it.

    model: provider string of the model that was asked last.
    errors: what was wrong with the last reply; when there was none, one that says so, its type the class's `kind`.
    report: all attempts, set before the error leaves the generator.
    retry_after_seconds: when it may be worth trying again, if the provider or the circuit breaker said so.
    """

    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.PROVIDER_ERROR
    kind: ClassVar[str] = "provider_error"
    default_message: ClassVar[str] = "the model gave no plan"

    def __init__(
        self,
        model: str,
        message: str = "",
        *,
        errors: tuple[Finding, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message or self.default_message)
        self.model = model
        self.message = message or self.default_message
        self.errors = errors or (Finding("", self.kind, self.message),)
        self.retry_after_seconds = retry_after_seconds
        self.report: GenerationReport | None = None


class PlanInvalid(GenerationFailed):
    """The model answered, but never with a valid plan. `repeated`: the same error came twice in a row."""

    outcome = AttemptOutcome.INVALID_SCHEMA
    kind = "invalid"
    default_message = "the model's reply is not a valid plan"
    repeated: bool = False


class ReplyEmpty(PlanInvalid):
    """Nothing came back."""

    outcome = AttemptOutcome.EMPTY
    kind = "empty"
    default_message = "the model's reply is empty"


class ReplyTruncated(PlanInvalid):
    """The reply hit the output limit."""

    outcome = AttemptOutcome.TRUNCATED
    kind = "truncated"
    default_message = "the model's reply was cut off at the output limit"


class ReplyTooLarge(PlanInvalid):
    """The reply has more bytes than the planner reads; the rest was not read."""

    outcome = AttemptOutcome.TOO_LARGE
    kind = "too_large"
    default_message = "the model's reply is larger than the planner reads"


class ReplyNotJson(PlanInvalid):
    """Not JSON, and repair did not make it a plan."""

    kind = "json_invalid"
    default_message = "the model's reply is not JSON"


class SchemaViolated(PlanInvalid):
    """JSON, but not of the draft's form."""

    kind = "schema"
    default_message = "the model's reply does not fit the plan's schema"


class MeaningViolated(PlanInvalid):
    """The form is right, the meaning is not."""

    outcome = AttemptOutcome.INVALID_MEANING
    kind = "meaning"
    default_message = "the model's plan fails the checks"


class WrongToolCalled(PlanInvalid):
    """The model called a tool that it was not given."""

    kind = "wrong_tool"
    default_message = "the model called a tool it was not given"


class ExtraToolCalls(PlanInvalid):
    """The model made more than the one tool call it was asked for."""

    kind = "extra_tool_calls"
    default_message = "the model made more than one tool call"


class ModelRefused(GenerationFailed):
    """The model declined to answer. Not tried again: asking around until some model agrees is not our business."""

    outcome = AttemptOutcome.REFUSED
    kind = "refused"
    default_message = "the model declined the request"


class BudgetExhausted(GenerationFailed):
    """The attempts used up the token budget, or what is left does not pay for another call."""

    outcome = AttemptOutcome.TRUNCATED
    kind = "budget"
    default_message = "the token budget is used up"

    def __init__(self, model: str, message: str = "", *, token_budget: int, errors: tuple[Finding, ...] = ()):
        super().__init__(model, message, errors=errors)
        self.token_budget = token_budget


class ProviderFailed(GenerationFailed):
    """There is no answer to judge. `status` is the HTTP status, 0 when there was none.

    problem: what was wrong with the connection, for the log only.
    """

    default_message = "the provider failed"
    problem: str = ""

    def __init__(self, model: str, message: str = "", *, status: int = 0, retry_after_seconds: float | None = None):
        super().__init__(model, message, retry_after_seconds=retry_after_seconds)
        self.status = status


class RateLimited(ProviderFailed):
    """HTTP 429. `retry_after_seconds` is the provider's Retry-After, None when it gave none."""

    outcome = AttemptOutcome.RATE_LIMITED
    kind = "rate_limited"
    default_message = "the provider asks to slow down"


class ProviderUnavailable(ProviderFailed):
    """The provider is down, or its circuit breaker is open."""

    kind = "unavailable"
    default_message = "the provider is not available"


class CircuitOpen(ProviderUnavailable):
    """Every provider that could be asked failed lately and is left alone for a while. No call was made."""

    kind = "circuit_open"
    default_message = "the provider failed lately and is not asked for a while"


class ConnectionLost(ProviderUnavailable):
    """No connection, or it broke before the answer was complete."""

    kind = "connection_lost"
    default_message = "the connection to the provider failed"


class ServerFailed(ProviderUnavailable):
    """HTTP 5xx, or an answer that is not of the provider's protocol."""

    kind = "server_error"
    default_message = "the provider answered with a server error"


class ProviderTimedOut(ProviderFailed):
    """No complete answer within the attempt's limit or the call's deadline. `deadline`: it was the latter."""

    outcome = AttemptOutcome.TIMED_OUT
    kind = "timed_out"
    default_message = "the provider did not answer in time"
    deadline: bool = False


class CredentialsRejected(ProviderFailed):
    """HTTP 401 or 403."""

    kind = "credentials_rejected"
    default_message = "the provider rejected the credentials"


class RequestRejected(ProviderFailed):
    """Another HTTP 4xx: unknown model, unsupported parameter.

    parameter: the one it complains about, if a call can do without it.
    """

    kind = "request_rejected"
    default_message = "the provider rejected the request"
    parameter: str = ""


class PromptTooLong(RequestRejected):
    """The conversation, with the catalogue and room for the reply, is more than the model can read.

    Asking it again is no use; another model may have more room.
    """

    kind = "prompt_too_long"
    default_message = "the prompt is longer than the model can read"


class ProviderNotUsable(Exception):
    """The settings name a model that cannot be used here: unknown provider, missing package, missing key.

    The message says what mends it. Raised when the client is made, not while planning.
    """
