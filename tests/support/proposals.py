"""Proposals and plans in any state, made without a store."""

from __future__ import annotations

from typing import Any

from store_service.domain.actor import Actor
from store_service.domain.instant import SECOND
from store_service.domain.lease import Failure, Lease
from store_service.domain.plan import Plan, PlanState
from store_service.domain.proposal import Proposal, ProposalState

ALICE = Actor("alice", frozenset({"planner"}))
BOB = Actor("bob", frozenset({"reviewer"}))
CAROL = Actor("carol", frozenset({"reviewer"}))
WORKER = Actor("worker-1", frozenset({"executor"}))
NOW = 1_000_000 * SECOND


def proposal(state: ProposalState, **fields: Any) -> Proposal:
    """A proposal of alice in this state; EXECUTING is leased to WORKER."""
    values: dict[str, Any] = {
        "id": "p1",
        "version": 3,
        "created_by": ALICE.identity,
        "action_name": "delete_file",
        "args_digest": "d1",
        "state": state,
        "max_attempts": 2,
    }
    if state is ProposalState.EXECUTING:
        values |= {"attempt": 1, "lease": Lease(WORKER.identity, 1, NOW + 60 * SECOND)}
    return Proposal(**values | fields)


def plan(state: PlanState, **fields: Any) -> Plan:
    """A plan of alice in this state; PLANNING is leased to WORKER."""
    values: dict[str, Any] = {"id": "l1", "version": 3, "created_by": ALICE.identity, "state": state, "max_attempts": 2}
    if state is PlanState.PLANNING:
        values |= {"attempt": 1, "lease": Lease(WORKER.identity, 1, NOW + 60 * SECOND)}
    return Plan(**values | fields)


FAILURE = Failure("BROKEN", "it broke")
