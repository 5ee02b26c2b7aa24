"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried by one call at a time."""

from __future__ import annotations

import enum
from collections.abc import Callable

_TRIAL_SECONDS = 1.0


class CircuitState(enum.Enum):
    """CLOSED: calls go through. OPEN: none do. HALF_OPEN: one does, and decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """Counts consecutive outages of one provider. For one event loop; nothing in it awaits.

    :param failures: consecutive outages that open it
    :param open_seconds: how long it stays open before one call may try
    :param clock: monotonic seconds
    """

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probe: Permit | None = None

    @property
    def state(self) -> CircuitState:
        """As a call would find it now."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.seconds_until_probe == 0.0 else CircuitState.OPEN

    @property
    def seconds_until_probe(self) -> float:
        """0 when a call may be tried now (or one is trying)."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._open_seconds - self._clock())

    @property
    def seconds_until_admission(self) -> float:
        """0 when a call would be let through now. While one is trying it is a guess: what it finds decides."""
        return _TRIAL_SECONDS if self._probe is not None else self.seconds_until_probe

    def admit(self) -> Permit | None:
        """Leave to make one call now, or None. Whoever gets it must settle it."""
        state = self.state
        if state is CircuitState.CLOSED:
            return Permit(self)
        if state is CircuitState.OPEN or self._probe is not None:
            return None
        self._probe = Permit(self)
        return self._probe

    def settle(self, permit: Permit, answered: bool | None) -> None:
        """What came of a permitted call. For permits alone."""
        probed, self._probe = permit is self._probe, None if permit is self._probe else self._probe
        if answered:
            self._failures = 0
            self._opened_at = None
        elif answered is False:
            self._failures += 1
            if probed or self._failures >= self._limit:
                self._opened_at = self._clock()


class Permit:
    """Leave to make one call."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit: Circuit | None = circuit

    def settle(self, answered: bool | None) -> None:
        """What came of the call; only the first time counts.

        :param answered: True, whatever the answer; False: the provider is out (no connection, no answer in time, HTTP
            5xx); None: the call tells nothing about the provider, for example because it was cancelled
        """
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit.settle(self, answered)
