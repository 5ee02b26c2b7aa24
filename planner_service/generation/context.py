"""What all generations of a process share: clients, circuits, and how models count tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.embedded.correction.corrector import ReplyCorrector
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.prompt.prompts import TokenEstimate
from planner_service.generation.providers.circuit import Circuit, CircuitState
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.settings import GenerationSettings


class GenerationContext:
    """One per process.

    :param review_profile: of the embedded model; None: its replies are taken as they are
    """

    def __init__(
        self,
        clients: ModelClients,
        settings: GenerationSettings,
        now: Callable[[], dt.datetime],
        jitter: Callable[[], float],
        review_profile: ReviewProfile | None,
    ) -> None:
        self.clients = clients
        self.settings = settings
        self.now = now
        self.jitter = jitter
        self._review_profile = review_profile
        self._circuits: dict[str, Circuit] = {}
        self._estimates: dict[str, TokenEstimate] = {}

    def circuit(self, provider: str) -> Circuit:
        """The circuit breaker of a provider."""
        if provider not in self._circuits:
            settings = self.settings
            clock = asyncio.get_running_loop().time
            self._circuits[provider] = Circuit(settings.circuit_failures, settings.circuit_open_seconds, clock)
        return self._circuits[provider]

    @property
    def circuit_states(self) -> dict[str, CircuitState]:
        """Of every provider that was called so far."""
        return {provider: circuit.state for provider, circuit in self._circuits.items()}

    def review(self, client: ModelClient, shown: Catalogue, request: str) -> ReplyCorrector | None:
        """The review of a model's replies; None for models whose replies are taken as they are."""
        if self._review_profile is None or client.prefix != EMBEDDED:
            return None
        return ReplyCorrector(self._review_profile, shown, request)

    def estimate(self, model: str) -> TokenEstimate:
        """How a model counts tokens."""
        return self._estimates.setdefault(model, TokenEstimate())
