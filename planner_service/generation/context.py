"""What all generations of a process share: clients, circuits, and how models count tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.embedded.correction.corrector import ReplyCorrector
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.prompt.prompts import TokenEstimate
from planner_service.generation.providers.circuit import Circuit
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.settings import GenerationSettings


@dataclass(slots=True)
class GenerationContext:
    """One per process.

    now: aware UTC. jitter: a number from 0 to 1, each time another.
    review_profile: of the embedded model; None: its replies are taken as they are.
    circuits: of every provider that was called so far. estimates: how each model counts tokens.
    """

    clients: ModelClients
    settings: GenerationSettings
    now: Callable[[], dt.datetime]
    jitter: Callable[[], float]
    review_profile: ReviewProfile | None
    circuits: dict[str, Circuit] = field(default_factory=dict)
    estimates: defaultdict[str, TokenEstimate] = field(default_factory=lambda: defaultdict(TokenEstimate))

    def circuit(self, provider: str) -> Circuit:
        """The circuit breaker of a provider."""
        if provider not in self.circuits:
            settings = self.settings
            clock = asyncio.get_running_loop().time
            self.circuits[provider] = Circuit(settings.circuit_failures, settings.circuit_open_seconds, clock)
        return self.circuits[provider]

    def review(self, client: ModelClient, shown: Catalogue, request: str) -> ReplyCorrector | None:
        """The review of a model's replies; None for models whose replies are taken as they are."""
        if self.review_profile is None or client.prefix != EMBEDDED:
            return None
        return ReplyCorrector(self.review_profile, shown, request)
