"""Which step follows which failure."""

from __future__ import annotations

import pytest

from planner_service.generation import errors
from planner_service.generation.attempts import Finding
from planner_service.generation.retry_policy import NextAttempt, RetryPolicy
from planner_service.generation.settings import GenerationSettings, OnRepeatedError

M = "openai/m"


def policy(models: int = 1, **settings: object) -> RetryPolicy:
    return RetryPolicy(GenerationSettings(**settings), models, lambda: 1.0)  # type: ignore[arg-type]  # test's own keywords


def invalid(kind: str = "missing") -> errors.SchemaViolated:
    return errors.SchemaViolated(M, errors=(Finding("jobs", kind, kind),))


def deadline_passed() -> errors.ProviderTimedOut:
    failure = errors.ProviderTimedOut(M)
    failure.deadline = True
    return failure


@pytest.mark.parametrize(
    "failure",
    [
        errors.ModelRefused(M),
        errors.BudgetExhausted(M, token_budget=1),
        errors.CircuitOpen(M),
        deadline_passed(),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_some_failures_are_final(failure: errors.GenerationFailed) -> None:
    assert policy(models=3).after(failure, None) is None


@pytest.mark.parametrize(
    "failure",
    [errors.CredentialsRejected(M), errors.RequestRejected(M), errors.ReplyTooLarge(M)],
    ids=lambda failure: type(failure).__name__,
)
def test_some_failures_only_another_model_can_mend(failure: errors.GenerationFailed) -> None:
    assert policy(models=1).after(failure, None) is None
    assert policy(models=2).after(failure, None) == NextAttempt(1)


def test_a_rejected_parameter_is_left_out_at_once() -> None:
    failure = errors.RequestRejected(M)
    failure.adapted = True
    assert policy().after(failure, None) == NextAttempt(0)


@pytest.mark.parametrize(
    "kind",
    [
        errors.ReplyEmpty,
        errors.ReplyTruncated,
        errors.ReplyNotJson,
        errors.SchemaViolated,
        errors.MeaningViolated,
        errors.WrongToolCalled,
        errors.ExtraToolCalls,
    ],
)
def test_every_failure_of_a_reply_is_told_to_the_model(kind: type[errors.PlanInvalid]) -> None:
    assert policy().after(kind(M), None) == NextAttempt(0, reask=True)


@pytest.mark.parametrize(
    ("setting", "models", "expected"),
    [
        (OnRepeatedError.STOP, 2, None),
        (OnRepeatedError.FALLBACK, 1, None),
        (OnRepeatedError.FALLBACK, 2, NextAttempt(1)),
        (OnRepeatedError.VARY, 1, NextAttempt(0, reask=True, vary=True)),
        (OnRepeatedError.VARY, 2, NextAttempt(0, reask=True, vary=True)),
    ],
)
def test_the_same_error_twice(setting: OnRepeatedError, models: int, expected: NextAttempt | None) -> None:
    it = policy(models, on_repeated_error=setting)
    assert it.after(invalid(), None) == NextAttempt(0, reask=True)
    assert it.after(invalid(), None) == expected


def test_two_different_errors_leave_the_model_if_there_is_another() -> None:
    alone, accompanied = policy(1), policy(2)
    for it in (alone, accompanied):
        it.after(invalid("missing"), None)
    assert alone.after(invalid("other"), None) == NextAttempt(0, reask=True)
    assert accompanied.after(invalid("other"), None) == NextAttempt(1)


def test_another_models_errors_are_counted_anew() -> None:
    it = policy(3)
    it.after(invalid(), None)
    it.begin_attempt(1)
    assert it.after(invalid(), None) == NextAttempt(1, reask=True)


def test_an_outage_between_does_not_hide_a_repetition() -> None:
    it = policy(on_repeated_error=OnRepeatedError.STOP)
    it.after(invalid(), None)
    assert it.after(errors.ServerFailed(M), None) == NextAttempt(0, delay_seconds=0.25)
    assert it.after(invalid(), None) is None


def test_outages_back_off_and_move_on() -> None:
    it = policy(2)
    assert it.after(errors.ConnectionLost(M), None) == NextAttempt(0, delay_seconds=0.25)
    assert it.after(errors.ProviderTimedOut(M), None) == NextAttempt(1)


def test_a_servers_wish_to_wait_is_granted() -> None:
    assert policy().after(errors.ServerFailed(M, retry_after_seconds=2.0), None) == NextAttempt(0, delay_seconds=2.0)


def test_a_server_that_wishes_to_be_left_alone_for_long_is() -> None:
    assert policy(2).after(errors.ServerFailed(M, retry_after_seconds=6.0), 300.0) == NextAttempt(1)
    assert policy(1).after(errors.ServerFailed(M, retry_after_seconds=60.0), 300.0) == NextAttempt(
        0, delay_seconds=60.0
    )
    assert policy(1).after(errors.ServerFailed(M, retry_after_seconds=61.0), 300.0) is None


def test_jitter_takes_up_to_half_off() -> None:
    hasty = RetryPolicy(GenerationSettings(), 1, lambda: 0.0)
    assert hasty.after(errors.ServerFailed(M), None) == NextAttempt(0, delay_seconds=0.125)


def test_nobody_waits_beyond_the_deadline() -> None:
    slow = errors.RateLimited(M, retry_after_seconds=4.0)
    assert policy(1).after(slow, 10.0) == NextAttempt(0, delay_seconds=4.0)
    assert policy(1).after(slow, 4.0) is None
    assert policy(2).after(slow, 4.0) == NextAttempt(1)


def test_limits_of_patience() -> None:
    assert policy(2).after(errors.RateLimited(M, retry_after_seconds=4.0), None) == NextAttempt(0, delay_seconds=4.0)
    assert policy(2).after(errors.RateLimited(M, retry_after_seconds=6.0), None) == NextAttempt(1)
    assert policy(1).after(errors.RateLimited(M, retry_after_seconds=60.0), None) == NextAttempt(0, delay_seconds=60.0)
    assert policy(1).after(errors.RateLimited(M, retry_after_seconds=61.0), None) is None
    assert policy(1).after(errors.RateLimited(M), None) == NextAttempt(0, delay_seconds=0.25)
