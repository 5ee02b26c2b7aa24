"""Why a generation ended without a plan. One type per cause; each carries the report of all attempts so far.

    GenerationFailed
    +-- PlanInvalid                 the model answered, but never with a valid plan
    |   +-- ReplyEmpty
    |   +-- ReplyTruncated          cut off at the output limit
    |   +-- ReplyTooLarge           more bytes than the planner reads; the rest was not read
    |   +-- ReplyNotJson            broken beyond repair
    |   +-- ReplyAmbiguous          two different plans in one reply, or two values under one name
    |   +-- RejectedByServer        the provider's server found the reply invalid and kept it back
    |   +-- SchemaViolated          missing jobs, wrong types
    |   +-- MeaningViolated         unknown action, bad arguments, dependencies
    |   +-- WrongToolCalled
    |   +-- ExtraToolCalls
    +-- ModelRefused                the model, or the provider's filter, declined; no other model is asked
    +-- BudgetExhausted             tokens spent, or what is left does not pay for another call
    +-- ProviderFailed              no answer to judge
        +-- RateLimited             HTTP 429
        +-- ProviderUnavailable     the provider is down, or its circuit is open
        |   +-- CircuitOpen         all models' providers failed lately; none was called
        |   +-- ConnectionLost      none, or it broke before the answer was complete
        |   +-- ServerFailed        HTTP 5xx, or an answer that is not the protocol
        +-- ProviderTimedOut
        |   +-- EngineTimedOut      the embedded model, on this machine
        +-- ProviderRejected        will not get better by itself: the operator has something to change
            +-- CredentialsRejected HTTP 401, 403
            +-- CreditSpent         HTTP 402, insufficient_quota
            +-- ModelUnknown        HTTP 404
            +-- RequestRejected     other HTTP 4xx: a parameter or a mode that the model does not support
                +-- PromptTooLong   more than the model can read: another may have more room

Messages name the fact and the model. They never hold prompts, replies, or the text of an SDK's exception (which may
hold both), so they are fit for a status and for a log. A ProviderRejected also has the provider's own reason, bounded
and with keys masked.
"""

from __future__ import annotations

from typing import ClassVar

from planner_service.generation.attempts import AttemptOutcome, Finding, GenerationReport


class GenerationFailed(Exception):
    """No plan came of it.

    model: provider string of the model that was called last.
    errors: what was wrong with the last reply; when there was none, one that says so, its type the class's `kind`.
    report: all attempts, set before the error leaves the InstructorClient.
    retry_after_seconds: when it may be worth trying again, if the provider or the circuit breaker gave a time.
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
    outcome = AttemptOutcome.INVALID_SCHEMA
    kind = "invalid"
    default_message = "the model's reply is not a valid plan"


class ReplyEmpty(PlanInvalid):
    outcome = AttemptOutcome.EMPTY
    kind = "empty"
    default_message = "the model's reply is empty"


class ReplyTruncated(PlanInvalid):
    outcome = AttemptOutcome.TRUNCATED
    kind = "truncated"
    default_message = "the model's reply was cut off at the output limit"


class ReplyTooLarge(PlanInvalid):
    outcome = AttemptOutcome.TOO_LARGE
    kind = "too_large"
    default_message = "the model's reply is larger than the planner reads"


class ReplyNotJson(PlanInvalid):
    kind = "json_invalid"
    default_message = "the model's reply is not JSON"


class ReplyAmbiguous(PlanInvalid):
    kind = "ambiguous"
    default_message = "the model's reply holds more than one plan"


class RejectedByServer(PlanInvalid):
    kind = "rejected_by_server"
    default_message = "the provider's server found the model's reply invalid"


class SchemaViolated(PlanInvalid):
    kind = "schema"
    default_message = "the model's reply does not fit the plan's schema"


class MeaningViolated(PlanInvalid):
    outcome = AttemptOutcome.INVALID_MEANING
    kind = "meaning"
    default_message = "the model's plan fails the checks"


class WrongToolCalled(PlanInvalid):
    kind = "wrong_tool"
    default_message = "the model called a tool it was not given"


class ExtraToolCalls(PlanInvalid):
    kind = "extra_tool_calls"
    default_message = "the model made more than one tool call"


class ModelRefused(GenerationFailed):
    outcome = AttemptOutcome.REFUSED
    kind = "refused"
    default_message = "the model declined the request"


class BudgetExhausted(GenerationFailed):
    outcome = AttemptOutcome.TRUNCATED
    kind = "budget"
    default_message = "the token budget is used up"

    def __init__(self, model: str, message: str = "", *, token_budget: int, errors: tuple[Finding, ...] = ()):
        super().__init__(model, message, errors=errors)
        self.token_budget = token_budget


class ProviderFailed(GenerationFailed):
    """problem: what was wrong with the connection or the server, for the log only."""

    default_message = "the provider failed"
    problem: str = ""


class RateLimited(ProviderFailed):
    """HTTP 429. `retry_after_seconds` is the provider's Retry-After, None when it gave none."""

    outcome = AttemptOutcome.RATE_LIMITED
    kind = "rate_limited"
    default_message = "the provider asks to slow down"


class ProviderUnavailable(ProviderFailed):
    kind = "unavailable"
    default_message = "the provider is not available"


class CircuitOpen(ProviderUnavailable):
    kind = "circuit_open"
    default_message = "the provider failed lately and is left alone for a while"


class ConnectionLost(ProviderUnavailable):
    kind = "connection_lost"
    default_message = "the connection to the provider failed"


class ServerFailed(ProviderUnavailable):
    kind = "server_error"
    default_message = "the provider answered with a server error"


class ProviderTimedOut(ProviderFailed):
    """No complete answer within the attempt's limit or the call's deadline. `deadline`: it was the latter."""

    outcome = AttemptOutcome.TIMED_OUT
    kind = "timed_out"
    default_message = "the provider did not answer in time"
    deadline: bool = False


class EngineTimedOut(ProviderTimedOut):
    """The embedded model did not finish; another attempt would begin anew on the same busy machine."""

    kind = "engine_timed_out"
    default_message = (
        "the embedded model did not finish in time: this machine is busy. Ask for fewer plans at once, give them more "
        "time (PLANGATE_PLAN_TIMEOUT_SECONDS, PLANGATE_MODEL_ATTEMPT_TIMEOUT_SECONDS), or name another model in "
        "PLANGATE_MODEL"
    )


class ProviderRejected(ProviderFailed):
    """reason: the provider's own words, bounded and with keys masked. `remedy`: what the operator can change."""

    kind = "rejected"
    default_message = "the provider rejected the request"
    remedy: str = ""

    def __init__(self, model: str, *, reason: str = "", status: int = 0):
        message = f"{self.default_message} ({status})" if status else self.default_message
        message = f"{message}: {reason.rstrip('.')}" if reason else message
        super().__init__(model, f"{message}. {self.remedy}" if self.remedy else message)


class CredentialsRejected(ProviderRejected):
    kind = "credentials_rejected"
    default_message = "the provider rejected the credentials"
    remedy = "Check the key (PLANGATE_MODEL_API_KEY or the provider's own variable) and what it may use"


class CreditSpent(ProviderRejected):
    kind = "credit_spent"
    default_message = "the account at the provider has no credit left"
    remedy = "Add credit there, or name another model in PLANGATE_MODEL"


class ModelUnknown(ProviderRejected):
    kind = "model_unknown"
    default_message = "the provider does not know the model or the address"
    remedy = "Check PLANGATE_MODEL and PLANGATE_MODEL_BASE_URL"


class RequestRejected(ProviderRejected):
    """parameters: those that it complains about. `adapted`: the next call leaves one out, or gives its other name."""

    kind = "request_rejected"

    def __init__(self, model: str, *, reason: str = "", status: int = 0, parameters: tuple[str, ...] = ()):
        if any(word in reason.casefold() for word in ("tool", "function", "response_format", "schema", "json")):
            self.remedy = "Set PLANGATE_MODEL_MODE to what the model supports: tools, json_schema, json or md_json"
        super().__init__(model, reason=reason, status=status)
        self.parameters = parameters
        self.adapted = False


class PromptTooLong(RequestRejected):
    kind = "prompt_too_long"
    default_message = "the prompt is longer than the model can read"


class ProviderNotUsable(Exception):
    """The settings name a model that cannot be used here: unknown provider, missing package, missing key.

    The message says what mends it. Raised when the client is made, not while planning.
    """
