"""Asks a model, through Instructor, for a plan until it is right, within one budget of attempts, tokens and time."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable, Sequence

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from planner_service.generation.context import GenerationContext
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.providers.circuit import CircuitState
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.request import GenerationObserver, GenerationRequest, GenerationResult
from planner_service.generation.run import GenerationRun
from planner_service.generation.settings import GenerationSettings

__all__ = ["GenerationObserver", "GenerationRequest", "GenerationResult", "InstructorClient"]


class InstructorClient:
    """Asks models for plans. One per process; safe for any number of concurrent calls on one event loop.

    :param sleep: waits between attempts, in seconds; the rest is explained at GenerationContext
    """

    def __init__(
        self,
        clients: ModelClients,
        settings: GenerationSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        jitter: Callable[[], float] = random.random,
        review_profile: ReviewProfile | None = None,
    ) -> None:
        self._context = GenerationContext(clients, settings, now, jitter, review_profile)
        self._sleep = sleep

    @property
    def circuits(self) -> dict[str, CircuitState]:
        """The circuit of every provider that was called so far, by the provider's name."""
        return {provider: circuit.state for provider, circuit in self._context.circuits.items()}

    def seconds_until_usable(self, models: Sequence[str]) -> float:
        """How long the providers of all of these models are left alone; 0 when one may be called now."""
        circuits = (self._context.circuit(model.partition("/")[0]) for model in models)
        return min((circuit.seconds_until_admission for circuit in circuits), default=0.0)

    async def generate_plan(
        self, request: GenerationRequest, observer: GenerationObserver | None = None
    ) -> GenerationResult:
        """The first valid draft. With an observer the reply is streamed, and jobs are given as they come.

        :raises GenerationFailed: a subclass per cause, carrying the report of all attempts
        """
        run = GenerationRun(self._context, request, observer)
        # The only retry layer: Instructor and the SDKs under it make one call each.
        retrying = AsyncRetrying(
            stop=stop_after_attempt(request.max_attempts),
            retry=retry_if_exception(run.worth_another),
            wait=run.delay_seconds,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await run.attempt()
        except GenerationFailed as failure:
            failure.report = run.report()
            raise
        raise AssertionError("unreachable: the last attempt's failure is raised again")

    async def aclose(self) -> None:
        """Close all connections to providers."""
        await self._context.clients.aclose()
