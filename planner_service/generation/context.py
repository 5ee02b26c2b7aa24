"""What all generations of a process share: clients, circuits, forms of catalogues, and how models count tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.instructor_client import ResponseModel
from planner_service.generation.prompt.conversation import TokenEstimate
from planner_service.generation.providers.circuit import Circuit, CircuitState
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.settings import GenerationSettings

_FORMS_KEPT = 32


class GenerationContext:
    """See the module."""

    def __init__(
        self,
        clients: ModelClients,
        settings: GenerationSettings,
        now: Callable[[], dt.datetime],
        jitter: Callable[[], float],
    ) -> None:
        self.clients = clients
        self.settings = settings
        self.now = now
        self.jitter = jitter
        self._circuits: dict[str, Circuit] = {}
        self._forms: dict[str, ResponseModel] = {}
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
        """Of every provider that was asked so far."""
        return {provider: circuit.state for provider, circuit in self._circuits.items()}

    def form(self, catalogue: Catalogue) -> ResponseModel:
        """The reply's form for a catalogue; the last few catalogues' are kept."""
        form = self._forms.get(catalogue.digest)
        if form is None:
            while len(self._forms) >= _FORMS_KEPT:
                del self._forms[next(iter(self._forms))]
            form = self._forms[catalogue.digest] = ResponseModel(catalogue)
        return form

    def estimate(self, model: str) -> TokenEstimate:
        """How a model counts tokens."""
        return self._estimates.setdefault(model, TokenEstimate())
