"""The contract's messages and the planner's own types, in pairs: `job_to_proto`, `job_from_proto`.

Decoding refuses what is missing, too large or malformed with FieldInvalid, which names the field as on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.store.v1 import proposal_pb2

from planner_service.attempt_error import AttemptError
from planner_service.catalogue import Action, BindingKind, Risk
from planner_service.decision import Decision, Effect
from planner_service.errors import FieldInvalid
from planner_service.generation.attempts import Attempt, GenerationReport
from planner_service.plan import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_JOBS,
    MAX_OBJECTIVE_CHARACTERS,
    ClaimedPlan,
    Job,
    Options,
    Plan,
    PlanRequest,
    Proposal,
)
from planner_service.plan_store import Queueing, Revision
from rpckit.struct_codec import JsonObject, NumberNotExact, StructRefused, json_to_struct, struct_to_json

MAX_LABELS = 64
MAX_LABEL_CHARACTERS = 256
MAX_MODEL_CHARACTERS = 128
MAX_MODEL_CALLS = 10
MAX_TOKEN_BUDGET = 2**53
MAX_COMMENT_CHARACTERS = 2_000
MAX_PRIORITY = 1_000
MAX_PLANNING_ATTEMPTS = 100
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")

_EFFECTS = {
    Effect.ALLOW: plan_pb2.EFFECT_ALLOW,
    Effect.REQUIRE_APPROVAL: plan_pb2.EFFECT_REQUIRE_APPROVAL,
    Effect.DENY: plan_pb2.EFFECT_DENY,
}
_EFFECTS_BACK = {number: effect for effect, number in _EFFECTS.items()}
_RISKS = {
    Risk.UNSPECIFIED: action_pb2.RISK_UNSPECIFIED,
    Risk.LOW: action_pb2.RISK_LOW,
    Risk.MEDIUM: action_pb2.RISK_MEDIUM,
    Risk.HIGH: action_pb2.RISK_HIGH,
}
_BINDINGS = {
    BindingKind.NONE: action_pb2.BINDING_UNSPECIFIED,
    BindingKind.COMMAND: action_pb2.BINDING_COMMAND,
    BindingKind.HTTP: action_pb2.BINDING_HTTP,
}
_REVISABLE = ("action_args", "description", "priority")


# --- What clients send -------------------------------------------------------------------------------------------


def plan_request_from_proto(
    message: planner_pb2.CreatePlanRequest, *, max_prompt_characters: int, path: str = ""
) -> PlanRequest:
    """A request in plain words. `path` is what its field names are prefixed with."""
    return PlanRequest(
        prompt=_text(f"{path}prompt", message.prompt, max_prompt_characters, required=True),
        context=json_from_proto(message.context, f"{path}context"),
        labels=labels_from_proto(message.labels, f"{path}labels"),
        options=options_from_proto(
            plan_pb2.GenerationOptions(
                model=message.model, max_attempts=message.max_attempts, token_budget=message.token_budget
            ),
            path,
        ),
    )


def options_from_proto(message: plan_pb2.GenerationOptions, path: str) -> Options:
    """What is asked of the generation."""
    _text(f"{path}model", message.model, MAX_MODEL_CHARACTERS)
    _in_range(f"{path}max_attempts", message.max_attempts, 0, MAX_MODEL_CALLS)
    _in_range(f"{path}token_budget", message.token_budget, 0, MAX_TOKEN_BUDGET)
    return Options(message.model, message.max_attempts, message.token_budget)


def queueing_from_proto(message: planner_pb2.EnqueuePlanRequest) -> Queueing:
    """How a request waits."""
    _in_range("priority", message.priority, -MAX_PRIORITY, MAX_PRIORITY)
    _in_range("max_planning_attempts", message.max_planning_attempts, 0, MAX_PLANNING_ATTEMPTS)
    return Queueing(message.priority, message.max_planning_attempts)


def brought_plan_from_proto(message: planner_pb2.SubmitPlanRequest) -> Plan:
    """A plan that a client brings."""
    objective = _text("objective", message.objective, MAX_OBJECTIVE_CHARACTERS, required=True)
    if not message.jobs:
        raise FieldInvalid("jobs", "is required")
    return Plan(
        objective=objective,
        jobs=brought_jobs_from_proto(message.jobs),
        labels=labels_from_proto(message.labels, "labels"),
        context=json_from_proto(message.context, "context"),
    )


def brought_jobs_from_proto(messages: Sequence[plan_pb2.Job]) -> tuple[Job, ...]:
    """Jobs that a client brings; decisions and proposals in them are ignored."""
    if len(messages) > MAX_JOBS:
        raise FieldInvalid("jobs", f"must have at most {MAX_JOBS} entries")
    return tuple(job_from_proto(message, f"jobs[{index}]") for index, message in enumerate(messages))


def revision_from_proto(message: planner_pb2.ReviseProposalRequest) -> Revision:
    """An edit of a proposal."""
    if not message.id:
        raise FieldInvalid("id", "is required")
    if message.expected_version < 1:
        raise FieldInvalid("expected_version", "is required: the version that was read")
    _text("comment", message.comment, MAX_COMMENT_CHARACTERS)
    paths = set(message.update_mask.paths) or {"action_args"}
    for path in sorted(paths):
        if path not in _REVISABLE:
            raise FieldInvalid("update_mask", f"may name {', '.join(_REVISABLE)}")
    if "description" in paths:
        _text("description", message.description, MAX_DESCRIPTION_CHARACTERS)
    if "priority" in paths:
        _in_range("priority", message.priority, -MAX_PRIORITY, MAX_PRIORITY)
    return Revision(
        proposal_id=message.id,
        expected_version=message.expected_version,
        action_args=json_from_proto(message.action_args, "action_args") if "action_args" in paths else None,
        description=message.description if "description" in paths else None,
        priority=message.priority if "priority" in paths else None,
        comment=message.comment,
        request_id=request_id_from_proto(message.request_id),
        validate_only=message.validate_only,
    )


def request_id_from_proto(text: str, path: str = "request_id") -> str:
    """Empty, or a UUID as it was sent: the store compares it by letter."""
    if text and not _UUID.fullmatch(text):
        raise FieldInvalid(path, "must be a UUID")
    return text


def labels_from_proto(labels: Mapping[str, str], path: str) -> dict[str, str]:
    """The requester's own key/value pairs."""
    if len(labels) > MAX_LABELS:
        raise FieldInvalid(path, f"must have at most {MAX_LABELS} entries")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise FieldInvalid(path, f"keys must match {_LABEL_KEY.pattern}")
        _text(f"{path}.{key}", value, MAX_LABEL_CHARACTERS)
    return dict(labels)


def json_from_proto(message: Struct, path: str) -> JsonObject:
    """A Struct as JSON, whole numbers as integers."""
    try:
        return struct_to_json(message, path)
    except StructRefused as error:
        inexact = isinstance(error, NumberNotExact)
        raise FieldInvalid(error.path, error.description, "NUMBER_NOT_EXACT" if inexact else "INVALID_FIELD") from None


def job_from_proto(message: plan_pb2.Job, path: str) -> Job:
    """A job without its decision."""
    return Job(
        id=message.id,
        action_name=message.action_name,
        action_args=json_from_proto(message.action_args, f"{path}.action_args"),
        description=message.description,
        evidence=message.evidence,
        role=message.role,
        input_context=tuple(message.input_context),
        depends_on=tuple(message.depends_on),
        priority=message.priority,
        max_attempts=message.max_attempts,
    )


def time_from_proto(message: Timestamp, path: str) -> datetime:
    """An aware time in UTC, to the microsecond."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise FieldInvalid(path, "is not a time between the years 1 and 9999") from None


# --- What the store has ------------------------------------------------------------------------------------------


def stored_plan_from_proto(message: plan_pb2.Plan) -> Plan:
    """What a stored plan says, with the decisions of its jobs."""
    return Plan(
        objective=message.objective,
        prompt=message.prompt,
        jobs=tuple(_stored_job_from_proto(job, index) for index, job in enumerate(message.jobs)),
        context=json_from_proto(message.context, "context"),
        labels=dict(message.labels),
        options=Options(message.options.model, message.options.max_attempts, message.options.token_budget),
    )


def claimed_plan_from_proto(message: plan_pb2.Plan) -> ClaimedPlan:
    """A queued plan and the lease on it."""
    return ClaimedPlan(
        id=message.id,
        attempt=message.lease.attempt,
        requester=message.created_by,
        request=PlanRequest(
            prompt=message.prompt,
            context=json_from_proto(message.context, "context"),
            labels=dict(message.labels),
            options=Options(message.options.model, message.options.max_attempts, message.options.token_budget),
        ),
    )


def proposal_from_proto(message: proposal_pb2.Proposal) -> Proposal:
    """A proposal as far as revising it needs to know."""
    return Proposal(
        id=message.id,
        action_name=message.action_name,
        action_args=json_from_proto(message.action_args, "action_args"),
        description=message.description,
        priority=message.priority,
        labels=dict(message.labels),
        created_by=message.created_by,
        updated_by=message.updated_by,
        answer=message,
    )


def _stored_job_from_proto(message: plan_pb2.Job, index: int) -> Job:
    job = job_from_proto(message, f"jobs[{index}]")
    return replace(job, decision=decision_from_proto(message.decision)) if message.HasField("decision") else job


def decision_from_proto(message: plan_pb2.Decision) -> Decision:
    """What policy decided."""
    return Decision(
        effect=_EFFECTS_BACK.get(message.effect, Effect.DENY),
        rule=message.rule,
        reason=message.reason,
        required_approvals=message.required_approvals,
        reviewer_role=message.reviewer_role,
        approval_ttl=message.approval_ttl.ToTimedelta() if message.HasField("approval_ttl") else None,
    )


# --- What the planner says ---------------------------------------------------------------------------------------


def plan_to_proto(plan: Plan) -> plan_pb2.Plan:
    """A plan as it is to be stored, or as `validate_only` answers it: state PLANNED, without identity."""
    message = plan_pb2.Plan(
        objective=plan.objective,
        prompt=plan.prompt,
        jobs=[job_to_proto(job) for job in plan.jobs],
        state=plan_pb2.PLAN_STATE_PLANNED,
        labels=plan.labels,
        no_action_reason=plan.no_action_reason,
        warnings=plan.warnings,
    )
    if plan.report is not None:
        message.generation.CopyFrom(report_to_proto(plan.report))
    _set_request(message, plan.context, plan.options)
    return message


def queued_plan_to_proto(request: PlanRequest, queue: Queueing) -> plan_pb2.Plan:
    """A request as it waits: state QUEUED, without identity."""
    message = plan_pb2.Plan(
        prompt=request.prompt,
        state=plan_pb2.PLAN_STATE_QUEUED,
        labels=request.labels,
        priority=queue.priority,
        max_attempts=queue.max_planning_attempts,
    )
    _set_request(message, request.context, request.options)
    return message


def _set_request(message: plan_pb2.Plan, context: Mapping[str, object], options: Options) -> None:
    if context:
        message.context.CopyFrom(json_to_proto(context, "context"))
    if options != Options():
        message.options.CopyFrom(
            plan_pb2.GenerationOptions(
                model=options.model, max_attempts=options.max_attempts, token_budget=options.token_budget
            )
        )


def job_to_proto(job: Job) -> plan_pb2.Job:
    """A job with its decision, if it has one."""
    message = plan_pb2.Job(
        id=job.id,
        action_name=job.action_name,
        action_args=json_to_proto(job.action_args, "action_args"),
        description=job.description,
        evidence=job.evidence,
        role=job.role,
        input_context=job.input_context,
        depends_on=job.depends_on,
        priority=job.priority,
        max_attempts=job.max_attempts,
    )
    if job.decision is not None:
        message.decision.CopyFrom(decision_to_proto(job.decision))
    return message


def decision_to_proto(decision: Decision) -> plan_pb2.Decision:
    """What policy decided."""
    return plan_pb2.Decision(
        effect=_EFFECTS[decision.effect],
        rule=decision.rule,
        reason=decision.reason,
        required_approvals=decision.required_approvals,
        reviewer_role=decision.reviewer_role,
        approval_ttl=None if decision.approval_ttl is None else duration_to_proto(decision.approval_ttl),
    )


def report_to_proto(report: GenerationReport) -> plan_pb2.GenerationReport:
    """How a plan was generated."""
    return plan_pb2.GenerationReport(
        model=report.model,
        prompt_template_version=report.prompt_template_version,
        catalogue_digest=report.catalogue_digest,
        policy_digest=report.policy_digest,
        attempts=[attempt_to_proto(attempt) for attempt in report.attempts],
        cached=report.cached,
        input_tokens=report.input_tokens,
        output_tokens=report.output_tokens,
        duration=duration_to_proto(timedelta(seconds=report.duration_seconds)) if report.attempts else None,
    )


def attempt_to_proto(attempt: Attempt) -> plan_pb2.Attempt:
    """One call to a model."""
    return plan_pb2.Attempt(
        number=attempt.number,
        outcome=plan_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{attempt.outcome.value}"),
        errors=[error_to_proto(error) for error in attempt.errors],
        raw_text=_whole(attempt.raw_text),
        input_tokens=attempt.input_tokens,
        output_tokens=attempt.output_tokens,
        duration=duration_to_proto(timedelta(seconds=attempt.duration_seconds)),
        repaired=attempt.repaired,
        model=attempt.model,
        start_time=time_to_proto(attempt.start_time),
    )


def error_to_proto(error: AttemptError) -> plan_pb2.AttemptError:
    """One thing that is wrong."""
    return plan_pb2.AttemptError(path=_whole(error.path), type=error.type, message=_whole(error.message))


def action_to_proto(action: Action) -> action_pb2.Action:
    """One entry of the catalogue."""
    return action_pb2.Action(
        name=action.name,
        description=action.description,
        parameters=json_to_proto(action.parameters, "parameters"),
        risk=_RISKS[action.risk],
        binding=_BINDINGS[action.binding],
    )


def json_to_proto(value: Mapping[str, object], path: str) -> Struct:
    """A JSON object as a Struct."""
    return json_to_struct(value, path)  # type: ignore[arg-type]  # JSON by construction: it was decoded or checked


def duration_to_proto(duration: timedelta) -> Duration:
    """A Duration."""
    message = Duration()
    message.FromTimedelta(duration)
    return message


def time_to_proto(time: datetime) -> Timestamp:
    """A Timestamp."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC))
    return message


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which a model's JSON may hold and protobuf refuses."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _text(path: str, text: str, most: int, *, required: bool = False) -> str:
    if required and not text.strip():
        raise FieldInvalid(path, "is required")
    if len(text) > most:
        raise FieldInvalid(path, f"must be at most {most} characters")
    if "\0" in text:
        # PostgreSQL cannot keep it; no store does, so that all behave alike.
        raise FieldInvalid(path, "must not contain NUL")
    return text


def _in_range(path: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise FieldInvalid(path, f"must be from {least} to {most}")
