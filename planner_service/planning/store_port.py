"""The store as planning needs it, whatever carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plangate_core.catalogue.policy_effect import OnRefusal
from planner_service.governance.decision import Decision
from planner_service.planning.plan import Fact, Plan, PlanRequest, Proposal, StoredPlan


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """The plan that a requester's first call with a request_id stored."""

    stored: StoredPlan
    plan: Plan
    queued: bool = False
    priority: int = 0
    max_planning_attempts: int = 0


class PlanStore(Protocol):
    """The store, as planning needs it. Every method raises StoreUnavailable, RequestIdReused
    and the store's own errors.

    `requester` is the identity that the store's log will show. Deadlines are on the event loop's clock.
    """

    async def first_answer(self, request_id: str, requester: str, deadline: float) -> FirstAnswer | None:
        """What a requester stored under a request_id, None when nothing was."""

    async def create_plan(self, plan: Plan, *, requester: str, request_id: str, deadline: float) -> StoredPlan:
        """Store a governed plan and its proposals, in one transaction."""

    async def enqueue_plan(
        self, request: PlanRequest, queue: Queueing, *, requester: str, request_id: str, deadline: float
    ) -> StoredPlan:
        """Store a request for a planner to claim."""

    async def get_proposal(self, proposal_id: str, deadline: float) -> Proposal:
        """Return one proposal."""

    async def update_proposal(
        self, revision: Revision, decision: Decision | None, *, requester: str, now: datetime, deadline: float
    ) -> Proposal:
        """Store a revision and what policy decided of it; None: what was decided before still holds."""

    async def first_revision(self, request_id: str, requester: str, deadline: float) -> Proposal | None:
        """The proposal as a requester's first revision with this request_id left it, None when there was none."""


@dataclass(frozen=True, slots=True)
class Queueing:
    """How a request waits. 0 attempts means the store's default."""

    priority: int = 0
    max_planning_attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An edit of a proposal. What is None stays as it is. `assumed`, `effect_key` and `facts` go with new arguments."""

    proposal_id: str
    expected_version: int
    action_args: Mapping[str, object] | None = None
    description: str | None = None
    priority: int | None = None
    depends_on: tuple[str, ...] | None = None
    on_refusal: OnRefusal | None = None
    assumed: tuple[str, ...] | None = None
    effect_key: str | None = None
    facts: tuple[Fact, ...] = ()
    comment: str = ""
    request_id: str = ""
    validate_only: bool = False
