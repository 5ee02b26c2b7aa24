"""Prometheus metrics of the store."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from plangate_core.process.clock import Clock
from store_service.database.proposal_repository import Backlog
from store_service.domain.actor import SWEEPER
from store_service.domain.events import EntityType, Event, EventKind
from store_service.domain.instant import SECOND, instant_of
from store_service.domain.plan import PlanState
from store_service.domain.proposal import ProposalState
from store_service.messages.decoding import executed_action

MAX_ROLES = 50
"""Values of the label reviewer_role, those with the most proposals; the others are summed."""
MAX_ACTIONS = 500
"""Values of the label action, those that were executed first; the others are summed."""
OTHER = "other"

# How an execution ended.
_OUTCOMES: dict[str, str] = {
    EventKind.PROPOSAL_EXECUTED: "executed",
    EventKind.PROPOSAL_RETRIED: "retried",
    EventKind.PROPOSAL_RETURNED: "returned",
    EventKind.PROPOSAL_FAILED: "failed",
    EventKind.PROPOSAL_UNRESOLVED: "unresolved",
    EventKind.PROPOSAL_RESOLVED: "resolved",
    EventKind.PROPOSAL_CANCELLED: "cancelled",
}
# What the sweeper makes of a plan whose lease ran out.
_PLAN_GIVEN_BACK = frozenset({EventKind.PLAN_REQUEUED, EventKind.PLAN_FAILED})


class StoreMetrics:
    """Metrics in the server's registry."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._writable = Gauge(
            "plangate_store_database_writable", "Whether the database takes writes", registry=registry
        )
        self._executions = Counter(
            "plangate_store_executions",
            "Executions by action and how they ended; an unresolved one is counted again once its outcome is known",
            ("action", "outcome"),
            registry=registry,
        )
        self._actions: set[str] = set()
        self._leases_lost = Counter(
            "plangate_store_leases_lost", "Leases of executors and planners that ran out", registry=registry
        )
        self._backlog = _BacklogCollector(clock)
        registry.register(self._backlog)

    def set_writable(self, writable: bool) -> None:
        """Whether the last attempt to write succeeded."""
        self._writable.set(writable)

    def set_backlog(self, backlog: Sequence[Backlog], plans: Mapping[PlanState, int]) -> None:
        """The proposals and the plans that have not ended, as they were just read."""
        self._backlog.backlog = (backlog, plans)

    def committed(self, events: Iterable[Event]) -> None:
        """Counts the executions that these events end, and the leases that ran out."""
        for event in events:
            if event.entity_type == EntityType.PLAN:
                if event.kind in _PLAN_GIVEN_BACK and event.actor == SWEEPER.identity:
                    self._leases_lost.inc()
                continue
            outcome = _OUTCOMES.get(event.kind)
            if outcome is None:
                continue
            action, cancel_requested = executed_action(event.snapshot)
            if event.kind == EventKind.PROPOSAL_CANCELLED and not cancel_requested:
                # It was never executed: a cancel is only requested of what is in work.
                continue
            self._executions.labels(self._label(action), outcome).inc()
            if event.actor == SWEEPER.identity:
                self._leases_lost.inc()

    def _label(self, name: str) -> str:
        """The name or OTHER: the store has no catalogue, and an admin may write proposals of any name."""
        if name not in self._actions:
            if len(self._actions) >= MAX_ACTIONS:
                return OTHER
            self._actions.add(name)
        return name


class _BacklogCollector:
    """Gauges of one read of the database: a scrape sees all of it or all of the next, and no state that is gone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.backlog: tuple[Sequence[Backlog], Mapping[PlanState, int]] | None = None
        """None: not read yet."""

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, in the thread of the metrics endpoint."""
        if self.backlog is None:
            return
        backlog, plans = self.backlog
        waiting = GaugeMetricFamily("plangate_store_plans", "Plans that have not ended", labels=("state",))
        for state in (PlanState.QUEUED, PlanState.PLANNING):
            waiting.add_metric((state.value,), plans.get(state, 0))
        yield waiting
        proposals = GaugeMetricFamily(
            "plangate_store_proposals",
            "Proposals that have not ended",
            labels=("state", "reviewer_role"),
        )
        for (proposal_state, role), count in _by_state_and_role(backlog).items():
            proposals.add_metric((proposal_state.value, role), count)
        yield proposals
        submitted = [
            each.earliest_submit_time
            for each in backlog
            if each.state is ProposalState.PENDING and each.earliest_submit_time is not None
        ]
        age = max(0, instant_of(self._clock.now()) - min(submitted)) / SECOND if submitted else 0
        yield GaugeMetricFamily(
            "plangate_store_oldest_pending_seconds", "Since the oldest PENDING proposal was submitted; 0: none", age
        )
        yield GaugeMetricFamily(
            "plangate_store_unresolved",
            "Proposals whose outcome nobody knows",
            sum(each.proposals for each in backlog if each.state is ProposalState.UNRESOLVED),
        )


def _by_state_and_role(backlog: Sequence[Backlog]) -> dict[tuple[ProposalState, str], int]:
    of_roles: Tally[str] = Tally()
    for each in backlog:
        of_roles[each.reviewer_role] += each.proposals
    named = {role for role, _ in of_roles.most_common(MAX_ROLES)}
    found: Tally[tuple[ProposalState, str]] = Tally()
    for each in backlog:
        found[each.state, each.reviewer_role if each.reviewer_role in named else OTHER] += each.proposals
    return found
