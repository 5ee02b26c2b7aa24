"""Prometheus metrics of notifications."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

_OUTCOMES = ("delivered", "refused", "given_up")


class NotificationMetrics:
    """By receiver: the names of the notify file."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "plangate_notifications",
            "Notifications by how they ended: delivered, refused by the receiver, given up after trying",
            ("receiver", "outcome"),
            registry=registry,
        )
        self._waiting = Gauge(
            "plangate_notifications_waiting_seconds",
            "Since the first attempt at the notification that its receiver has not taken yet; 0: none waits",
            ("receiver",),
            registry=registry,
        )
        self._begun: dict[str, list[float]] = {}

    def add(self, receiver: str) -> None:
        """A scraper sees it at 0 from the start."""
        begun = self._begun.setdefault(receiver, [])

        def waiting_seconds() -> float:
            # In the thread of the metrics endpoint: the list may change meanwhile.
            now = time.monotonic()
            return now - min([*begun, now])

        self._waiting.labels(receiver).set_function(waiting_seconds)
        for outcome in _OUTCOMES:
            self._ended.labels(receiver, outcome)

    @contextmanager
    def delivering(self, receiver: str) -> Iterator[None]:
        """A notification waits until the end of the block."""
        since = time.monotonic()
        self._begun[receiver].append(since)
        try:
            yield
        finally:
            self._begun[receiver].remove(since)

    def ended(self, receiver: str, outcome: str) -> None:
        """A notification was delivered, refused or given up."""
        self._ended.labels(receiver, outcome).inc()
