"""What follows a failed attempt: ask again, wait, ask another model, or stop. Decisions only, no I/O.

refusal, spent budget, deadline     stop
rejected key or request, no credit  the next model, or stop; a parameter the model does not know is left out first
reply too large, engine too slow    the next model, or stop
rate limit                          wait as long as the provider says, if the deadline allows it, else the next model
outage (5xx, connection, timeout)   the same model once more after a backoff, then the next model
invalid reply                       ask again and say what was wrong; twice in a row: the next model if there is one
the same error twice in a row       as the setting says: stop, the next model, or vary
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from planner_service.generation.errors import (
    BudgetExhausted,
    CircuitOpen,
    EngineTimedOut,
    GenerationFailed,
    ModelRefused,
    PlanInvalid,
    ProviderRejected,
    ProviderTimedOut,
    RateLimited,
    ReplyTooLarge,
    RequestRejected,
)
from planner_service.generation.settings import GenerationSettings, OnRepeatedError

FIRST_BACKOFF_SECONDS = 0.25
_LONGEST_BACKOFF_SECONDS = 8.0
_LONGEST_RATE_LIMIT_SECONDS = 5.0
"""A longer Retry-After sends us to the next model, if there is one."""
_LONGEST_WAIT_SECONDS = 60.0
"""A longer Retry-After is not waited for at all."""
_MOST_FAILURES = 2
"""Failures of one kind in a row before the next model is called, when there is one."""


@dataclasses.dataclass(frozen=True, slots=True)
class NextAttempt:
    """The next attempt. reask: with the last reply and its errors. vary: without the last reply, at temperature 0.6."""

    model_index: int
    delay_seconds: float = 0.0
    reask: bool = False
    vary: bool = False


class RetryPolicy:
    """Decides for one generation; remembers what happened on the model that is being called.

    :param models: how many there are, the fallbacks included
    :param jitter: a number from 0 to 1, each time another
    """

    def __init__(self, settings: GenerationSettings, models: int, jitter: Callable[[], float]) -> None:
        self._settings = settings
        self._models = models
        self._jitter = jitter
        self._index = 0
        self._invalid = 0
        self._outages = 0
        self._last_invalid: object = None

    def begin_attempt(self, model_index: int) -> None:
        """An attempt is made at this model."""
        if model_index != self._index:
            self._index = model_index
            self._invalid = self._outages = 0
            self._last_invalid = None

    def after(self, failure: GenerationFailed, seconds_left: float | None) -> NextAttempt | None:
        """The next step, or None to stop.

        :param seconds_left: until the deadline, None when there is none
        """
        step = self._step(failure)
        if step is None or seconds_left is None or step.delay_seconds < seconds_left:
            return step
        return self._next_model()

    def _step(self, failure: GenerationFailed) -> NextAttempt | None:
        match failure:
            case ModelRefused() | BudgetExhausted() | CircuitOpen() | ProviderTimedOut(deadline=True):
                return None
            case RequestRejected(adapted=True):
                return NextAttempt(self._index)
            case ProviderRejected() | ReplyTooLarge() | EngineTimedOut():
                return self._next_model()
            case PlanInvalid():
                return self._after_invalid(failure)
            case RateLimited():
                return self._after_rate_limit(failure)
            case _:
                return self._after_outage(failure)

    def _after_invalid(self, failure: PlanInvalid) -> NextAttempt | None:
        self._outages = 0
        self._invalid += 1
        signature = (type(failure), failure.errors)
        repeated = signature == self._last_invalid
        self._last_invalid = signature
        if repeated:
            match self._settings.on_repeated_error:
                case OnRepeatedError.STOP:
                    return None
                case OnRepeatedError.FALLBACK:
                    return self._next_model()
                case OnRepeatedError.VARY:
                    return NextAttempt(self._index, reask=True, vary=True)
        if self._invalid >= _MOST_FAILURES and (other := self._next_model()) is not None:
            return other
        return NextAttempt(self._index, reask=True)

    def _after_rate_limit(self, failure: RateLimited) -> NextAttempt | None:
        delay = failure.retry_after_seconds
        if delay is None:
            delay = self._backoff()
        self._outages += 1
        if delay > _LONGEST_RATE_LIMIT_SECONDS and (other := self._next_model()) is not None:
            return other
        return NextAttempt(self._index, delay_seconds=delay) if delay <= _LONGEST_WAIT_SECONDS else None

    def _after_outage(self, failure: GenerationFailed) -> NextAttempt | None:
        wanted = failure.retry_after_seconds or 0.0
        delay = max(self._backoff(), wanted)
        self._outages += 1
        exhausted = self._outages >= _MOST_FAILURES or wanted > _LONGEST_RATE_LIMIT_SECONDS
        if exhausted and (other := self._next_model()) is not None:
            return other
        return NextAttempt(self._index, delay_seconds=delay) if delay <= _LONGEST_WAIT_SECONDS else None

    def _backoff(self) -> float:
        full = FIRST_BACKOFF_SECONDS * 2.0**self._outages
        return min(_LONGEST_BACKOFF_SECONDS, full) * (0.5 + self._jitter() / 2)

    def _next_model(self) -> NextAttempt | None:
        return NextAttempt(self._index + 1) if self._index + 1 < self._models else None
