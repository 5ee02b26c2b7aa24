"""What became of a request, beside its exchanges in a recording: enough to make the same plan again without a model.

Prompts, contexts, labels and jobs are in it as they are. Keys are not, nor addresses of providers: of a base URL only
the path is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from plangate_core.catalogue.policy_effect import StepOrder
from planner_service.generation.prompt.prompts import TEMPLATE_VERSION
from planner_service.generation.providers.recording import RecordingFile, RecordingInvalid
from planner_service.generation.settings import GenerationSettings, OnRepeatedError
from planner_service.plan import Job, Options, Plan, PlanRequest
from planner_service.planning.plan_generation import PlanInputs

REPLAY_HOST = "http://replay.invalid"
"""No provider's: calls to it never leave the process."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RecordedSettings(_Entry):
    """What shapes requests to models. base_path: None where the provider's own address was used."""

    model: str
    base_path: str | None
    mode: str
    temperature: float
    seed: int
    max_output_tokens: int
    on_repeated_error: OnRepeatedError

    @classmethod
    def of(cls, settings: GenerationSettings) -> RecordedSettings:
        """Without anything secret."""
        same = {name: getattr(settings, name) for name in cls.model_fields if name != "base_path"}
        return cls(**same, base_path=urlsplit(settings.base_url).path if settings.base_url else None)

    def for_replay(self, recording: Path) -> GenerationSettings:
        """Settings that lead to the same requests, answered from the recording."""
        return GenerationSettings(
            **self.model_dump(exclude={"base_path"}),
            base_url="" if self.base_path is None else f"{REPLAY_HOST}{self.base_path}",
            # Time passes otherwise than when it was recorded: outages must not add up.
            circuit_failures=1 << 30,
            replay_file=recording,
        )


class RecordedOptions(_Entry):
    """What the requester wanted of the generation: `Options`, whose order is "" for none."""

    model: str
    max_attempts: int
    token_budget: int
    order: Literal["", "independent", "sequential"] = ""


class RecordedFailure(_Entry):
    """Why there was no plan: the contract's reason, and the sentence."""

    reason: str
    message: str


class PlanRecord(_Entry):
    """One request, the settings and files it was planned under, and the outcome: `plan` as plan_json gives it, or
    `failure`.

    exchanges: ids, in order; empty for a request that shared the generation of an identical one.
    """

    kind: Literal["plan"] = "plan"
    prompt: str
    context: dict[str, Any]
    labels: dict[str, str]
    options: RecordedOptions
    requester: str
    time: AwareDatetime
    streamed: bool
    models: tuple[str, ...] = Field(min_length=1)
    max_attempts: int = Field(ge=1)
    token_budget: int = Field(ge=0)
    settings: RecordedSettings
    prompt_template_version: str
    catalogue_digest: str
    policy_digest: str
    exchanges: tuple[str, ...]
    plan: dict[str, Any] | None = None
    failure: RecordedFailure | None = None

    @property
    def request(self) -> PlanRequest:
        """As it was received."""
        order = StepOrder(self.options.order) if self.options.order else None
        options = Options(**self.options.model_dump(exclude={"order"}), order=order)
        return PlanRequest(prompt=self.prompt, context=self.context, labels=self.labels, options=options)

    @property
    def generation(self) -> str:
        """The same for requests that share a generation when they come at the same time."""
        request = [self.prompt, self.context, self.models, self.max_attempts, self.token_budget, self.streamed]
        return json.dumps([*request, self.catalogue_digest, self.policy_digest], sort_keys=True)


def read_record(path: Path, line: int, entry: Mapping[str, Any]) -> PlanRecord:
    """A plan's entry. Raises RecordingInvalid."""
    try:
        record = PlanRecord.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordingInvalid(f"{path}:{line}: not a plan as it was written: {place}: {first['msg']}") from None
    if (record.plan is None) == (record.failure is None):
        raise RecordingInvalid(f"{path}:{line}: not a plan as it was written: a plan or a failure is wanted")
    return record


class PlanRecorder:
    """Writes down what becomes of requests."""

    def __init__(self, file: Path, settings: GenerationSettings, reason_of: Callable[[Exception], str]) -> None:
        """`reason_of`: the contract's reason for a failure. Raises RecordingInvalid."""
        self._file = RecordingFile(file)
        self._reason_of = reason_of
        self._settings = RecordedSettings.of(settings)

    def write(self, inputs: PlanInputs, outcome: Plan | Exception, exchanges: list[str]) -> None:
        """Append one request and what came of it."""
        request, options = inputs.request, inputs.request.options
        record = PlanRecord(
            prompt=request.prompt,
            context=dict(request.context),
            labels=dict(request.labels),
            options=RecordedOptions(
                model=options.model,
                max_attempts=options.max_attempts,
                token_budget=options.token_budget,
                order=options.order.value if options.order else "",
            ),
            requester=inputs.requester,
            time=inputs.time,
            streamed=inputs.streamed,
            models=inputs.models,
            max_attempts=inputs.max_attempts,
            token_budget=inputs.token_budget,
            settings=self._settings,
            prompt_template_version=TEMPLATE_VERSION,
            catalogue_digest=inputs.governance.catalogue.digest,
            policy_digest=inputs.governance.policy.digest,
            exchanges=tuple(exchanges),
            plan=plan_json(outcome) if isinstance(outcome, Plan) else None,
            failure=failure_of(outcome, self._reason_of) if isinstance(outcome, Exception) else None,
        )
        self._file.append("plan", record.model_dump(mode="json", exclude={"kind"}))


def failure_of(error: Exception, reason_of: Callable[[Exception], str]) -> RecordedFailure:
    """What a caller gets of a failure."""
    return RecordedFailure(reason=reason_of(error), message=str(error))


def plan_json(plan: Plan) -> dict[str, Any]:
    """What a plan says, as JSON: the same plan is the same JSON, to the byte once it is canonical."""
    return {
        "objective": plan.objective,
        "no_action_reason": plan.no_action_reason,
        "warnings": list(plan.warnings),
        "jobs": [_job_json(job) for job in plan.jobs],
    }


def _job_json(job: Job) -> dict[str, Any]:
    decision = job.decision
    return {
        "id": job.id,
        "action_name": job.action_name,
        "action_args": job.action_args,
        "depends_on": list(job.depends_on),
        "description": job.description,
        "evidence": job.evidence,
        "decision": None
        if decision is None
        else {
            "effect": decision.effect.value,
            "rule": decision.rule,
            "reason": decision.reason,
            "required_approvals": decision.required_approvals,
            "reviewer_role": decision.reviewer_role,
            "approval_ttl_seconds": None if decision.approval_ttl is None else decision.approval_ttl.total_seconds(),
        },
    }
