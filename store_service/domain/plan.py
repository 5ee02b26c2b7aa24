"""What a plan is. How it changes is in `lifecycle` and `planning`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from store_service.domain.lease import Failure, Leased
from store_service.domain.proposal import Step


class PlanState(StrEnum):
    QUEUED = "QUEUED"
    PLANNING = "PLANNING"
    PLANNED = "PLANNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, kw_only=True)
class Job(Step):
    """One step of a plan. `proposal_id` is empty for denied jobs."""

    id: str
    role: str = ""
    input_context: tuple[str, ...] = ()
    proposal_id: str = ""
    # Why it will not run although policy did not deny it, known when the plan was stored.
    will_not_run: Failure | None = None


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """The requester's options for the generation. Zeros and the empty model mean the planner's defaults."""

    model: str = ""
    max_attempts: int = 0
    token_budget: int = 0
    order: int = 0
    """The contract's StepOrder."""


@dataclass(frozen=True, kw_only=True)
class GeneratedPlan:
    """What planning gave: the parts of a plan that a planner writes.

    `generation` is the GenerationReport as protobuf bytes: the store keeps it and never looks inside.
    """

    objective: str = ""
    jobs: tuple[Job, ...] = ()
    generation: bytes | None = None
    no_action_reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlanDraft(GeneratedPlan):
    """What a client wants stored as a plan: PLANNED with jobs that carry decisions, or QUEUED without jobs."""

    state: PlanState
    prompt: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    # Canonical JSON of the facts given with the prompt.
    context_json: str = "{}"
    options: GenerationOptions | None = None
    # 0 means the store's default.
    max_attempts: int = 0
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan(Leased, PlanDraft):
    """An objective, the jobs that reach it, and where it came from."""

    state: PlanState = PlanState.QUEUED
