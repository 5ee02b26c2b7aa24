"""What the planner works with: plans, jobs and proposals, as clients send them and as the store has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from plangate_core.catalogue.policy_effect import OnRefusal, StepOrder
from planner_service.generation.attempts import Attempt, GenerationReport
from planner_service.governance.decision import Decision


@dataclass(frozen=True, slots=True)
class Fact:
    """What is looked up for reviewers before they decide. `failure`: reason and message, why it cannot be."""

    action_name: str
    action_args: Mapping[str, Any]
    decision: Decision | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One step of a plan.

    depends_on: ids of jobs of the same plan.
    on_refusal: what becomes of it when one of those ends without success; None where it waits for none.
    assumed: dotted paths of arguments that a default filled because the request names none.
    effect_key: names its effect in the world. decision: None until it was governed.
    """

    id: str
    action_name: str
    action_args: Mapping[str, Any]
    description: str = ""
    evidence: str = ""
    role: str = ""
    input_context: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    priority: int = 0
    max_attempts: int = 0
    assumed: tuple[str, ...] = ()
    on_refusal: OnRefusal | None = None
    idempotent: bool = False
    effect_key: str = ""
    decision: Decision | None = None
    facts: tuple[Fact, ...] = ()


def with_decisions(jobs: Sequence[Job], decisions: Sequence[Decision]) -> tuple[Job, ...]:
    """The jobs, each with the decision at its position."""
    return tuple(replace(job, decision=decision) for job, decision in zip(jobs, decisions, strict=True))


@dataclass(frozen=True, slots=True)
class Options:
    """What a requester may ask of the generation; empty and 0 mean the planner's default."""

    model: str = ""
    max_attempts: int = 0
    token_budget: int = 0
    order: StepOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """A request in plain words, as it was received."""

    prompt: str
    context: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a plan says: all that is stored of it. `report` is None for plans that were brought by a client."""

    objective: str
    prompt: str = ""
    jobs: tuple[Job, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Options = Options()
    report: GenerationReport | None = None
    no_action_reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A call to the model begins."""

    number: int
    model: str


@dataclass(frozen=True, slots=True)
class JobsRetracted:
    """Jobs sent before will not be in the plan as they were."""

    job_ids: tuple[str, ...]
    reason: str


PlanUpdate = AttemptStarted | Attempt | Job | JobsRetracted
"""What is said of a plan in the making. An Attempt: a call to the model ended, well or not. A Job: it is complete,
checked and governed."""


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan that the store has. `answer` is the store's own message, handed on to the client as it came."""

    answer: object


@dataclass(frozen=True, slots=True)
class Queueing:
    """How a request waits. 0 attempts means the store's default."""

    priority: int = 0
    max_planning_attempts: int = 0


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """The plan that a requester's first call with a request_id stored. `queue`: how it waits, if it was queued."""

    stored: StoredPlan
    plan: Plan
    queue: Queueing | None


@dataclass(frozen=True, slots=True)
class PastPlan:
    """A plan of the store's history."""

    id: str
    created_by: str
    create_time: datetime
    plan: Plan


@dataclass(frozen=True, slots=True)
class ClaimedPlan:
    """A queued plan that this planner holds the lease on. `attempt` is the fencing token."""

    id: str
    attempt: int
    requester: str
    request: PlanRequest


@dataclass(frozen=True, slots=True)
class PlanningEnded:
    """How an attempt at a queued plan ended that made no plan.

    retry_delay: before the next attempt, where there is one; None leaves it to the store. counts: False when this
    attempt is none: no model was called, or the planner was stopped.
    """

    reason: str
    message: str
    report: GenerationReport | None = None
    retryable: bool = False
    retry_delay: timedelta | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as far as revising it needs to know. `answer` is the store's own message."""

    id: str
    action_name: str
    action_args: Mapping[str, Any]
    description: str
    priority: int
    labels: Mapping[str, str]
    created_by: str
    answer: object
    assumed: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProposal:
    """A proposal that is not finished, as far as deciding about it again needs to know.

    requesters: the identity that it was made for, and those that edited it. decided_by: the planner that decided.
    """

    id: str
    version: int
    job: Job
    labels: Mapping[str, str]
    requesters: tuple[str, ...]
    decided_by: str
    is_approved: bool
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """What policy decides now about a proposal of that version."""

    id: str
    expected_version: int
    decision: Decision
