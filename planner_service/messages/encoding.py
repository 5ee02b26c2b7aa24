"""The planner's own types as messages: `job_to_proto`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from plangate_core.catalogue.catalogue import Action, Risk
from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.policy_effect import Effect, OnRefusal, StepOrder
from plangate_core.contract.struct_codec import json_to_struct
from planner_service.generation.attempts import Attempt, GenerationReport
from planner_service.governance.decision import Decision
from planner_service.plan import (
    AttemptStarted,
    Fact,
    Job,
    JobsRetracted,
    Options,
    Plan,
    PlanRequest,
    PlanUpdate,
    Queueing,
)

# By their names: EFFECT_ALLOW is Effect.ALLOW.
EFFECTS = {effect: plan_pb2.Effect.Value(f"EFFECT_{effect.name}") for effect in Effect}
ON_REFUSAL: dict[OnRefusal | None, plan_pb2.OnRefusal.ValueType] = {
    None: plan_pb2.ON_REFUSAL_UNSPECIFIED,
    **{each: plan_pb2.OnRefusal.Value(f"ON_REFUSAL_{each.name}") for each in OnRefusal},
}
STEP_ORDERS: dict[StepOrder | None, plan_pb2.StepOrder.ValueType] = {
    None: plan_pb2.STEP_ORDER_UNSPECIFIED,
    **{order: plan_pb2.StepOrder.Value(f"STEP_ORDER_{order.name}") for order in StepOrder},
}
_RISKS = {risk: action_pb2.Risk.Value(f"RISK_{risk.name}") for risk in Risk}
_BINDINGS = {
    type(None): action_pb2.BINDING_UNSPECIFIED,
    CommandForm: action_pb2.BINDING_COMMAND,
    HttpForm: action_pb2.BINDING_HTTP,
}


JOB_FIELDS = ("id", "action_name", "description", "evidence", "role", "priority", "max_attempts")
DECISION_FIELDS = ("rule", "reason", "governance_digest", "time_dependent")
"""What message and type of ours have alike."""


def plan_to_proto(plan: Plan) -> plan_pb2.Plan:
    """A plan as it is to be stored, or as `validate_only` answers it: state PLANNED, without identity."""
    return plan_pb2.Plan(
        **_request_fields(plan),
        objective=plan.objective,
        jobs=[job_to_proto(job) for job in plan.jobs],
        state=plan_pb2.PLAN_STATE_PLANNED,
        no_action_reason=plan.no_action_reason,
        warnings=plan.warnings,
        generation=None if plan.report is None else report_to_proto(plan.report),
    )


def queued_plan_to_proto(request: PlanRequest, queue: Queueing) -> plan_pb2.Plan:
    """A request as it waits: state QUEUED, without identity."""
    return plan_pb2.Plan(
        **_request_fields(request),
        state=plan_pb2.PLAN_STATE_QUEUED,
        priority=queue.priority,
        max_attempts=queue.max_planning_attempts,
    )


def _request_fields(request: Plan | PlanRequest) -> dict[str, Any]:
    options = request.options
    return {
        "prompt": request.prompt,
        "labels": request.labels,
        "context": json_to_proto(request.context, "context") if request.context else None,
        "options": None
        if options == Options()
        else plan_pb2.GenerationOptions(
            **copied(options, "model", "max_attempts", "token_budget"),
            order=STEP_ORDERS[options.order],
        ),
    }


def job_to_proto(job: Job) -> plan_pb2.Job:
    """A job with its decision, if it has one."""
    return plan_pb2.Job(
        **copied(job, *JOB_FIELDS, "input_context", "depends_on", "assumed", "idempotent", "effect_key"),
        action_args=json_to_proto(job.action_args, "action_args"),
        on_refusal=ON_REFUSAL[job.on_refusal],
        facts=map(fact_to_proto, job.facts),
        decision=None if job.decision is None else decision_to_proto(job.decision),
    )


def fact_to_proto(fact: Fact) -> plan_pb2.Fact:
    """What is to be looked up for reviewers."""
    return plan_pb2.Fact(
        action_name=fact.action_name,
        action_args=json_to_proto(fact.action_args, "facts.action_args"),
        decision=None if fact.decision is None else decision_to_proto(fact.decision),
        failure=None if fact.failure is None else plan_pb2.Failure(reason=fact.failure[0], message=fact.failure[1]),
    )


def decision_to_proto(decision: Decision) -> plan_pb2.Decision:
    """What policy decided."""
    several = decision.requirements if len(decision.requirements) > 1 else ()
    return plan_pb2.Decision(
        **copied(decision, *DECISION_FIELDS, "required_approvals", "reviewer_role", "approval_ttl"),
        effect=EFFECTS[decision.effect],
        approval_requirements=[plan_pb2.ApprovalRequirement(role=each.role, count=each.count) for each in several],
    )


def report_to_proto(report: GenerationReport) -> plan_pb2.GenerationReport:
    """How a plan was generated."""
    return plan_pb2.GenerationReport(
        **copied(report, "model", "prompt_template_version", "catalogue_digest", "policy_digest", "cached"),
        **copied(report, "input_tokens", "output_tokens"),
        **copied(report, "actions_shown", "actions_in_catalogue", "actions_shortened"),
        attempts=[attempt_to_proto(attempt) for attempt in report.attempts],
        duration=_seconds_to_proto(report.duration_seconds) if report.attempts else None,
    )


def attempt_to_proto(attempt: Attempt) -> plan_pb2.Attempt:
    """One call to a model."""
    return plan_pb2.Attempt(
        **copied(attempt, "number", "model", "input_tokens", "output_tokens", "repaired", "start_time"),
        outcome=plan_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{attempt.outcome.value}"),
        errors=[error_to_proto(error) for error in attempt.errors],
        raw_text=_whole(attempt.raw_text),
        duration=_seconds_to_proto(attempt.duration_seconds),
    )


def update_to_proto(update: PlanUpdate) -> planner_pb2.PlanUpdate:
    """One update about a plan in the making."""
    match update:
        case AttemptStarted():
            started = planner_pb2.AttemptStarted(number=update.number, model=update.model)
            return planner_pb2.PlanUpdate(attempt_started=started)
        case Attempt():
            return planner_pb2.PlanUpdate(attempt_finished=attempt_to_proto(update))
        case Job():
            return planner_pb2.PlanUpdate(job=job_to_proto(update))
        case JobsRetracted():
            retracted = planner_pb2.JobsRetracted(job_ids=update.job_ids, reason=update.reason)
            return planner_pb2.PlanUpdate(jobs_retracted=retracted)


def error_to_proto(error: Finding) -> plan_pb2.AttemptError:
    """One thing that is wrong."""
    return plan_pb2.AttemptError(path=_whole(error.path), type=error.type, message=_whole(error.message))


def action_to_proto(action: Action) -> action_pb2.Action:
    """One entry of the catalogue."""
    return action_pb2.Action(
        name=action.name,
        description=action.description,
        parameters=json_to_proto(action.parameters, "parameters"),
        risk=_RISKS[action.risk],
        binding=_BINDINGS[type(action.binding)],
        read_only=action.read_only,
    )


def json_to_proto(value: Mapping[str, object], path: str) -> Struct:
    """A JSON object as a Struct."""
    return json_to_struct(value, path)  # type: ignore[arg-type]  # JSON by construction: it was decoded or checked


def copied(source: object, *names: str) -> dict[str, Any]:
    """The attributes of these names, for a message whose fields have the same."""
    return {name: getattr(source, name) for name in names}


def _seconds_to_proto(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which a model's JSON may hold and protobuf refuses."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
