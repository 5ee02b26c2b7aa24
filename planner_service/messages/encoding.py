"""The planner's own types as messages: `job_to_proto`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
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

EFFECTS = {
    Effect.ALLOW: plan_pb2.EFFECT_ALLOW,
    Effect.REQUIRE_APPROVAL: plan_pb2.EFFECT_REQUIRE_APPROVAL,
    Effect.DENY: plan_pb2.EFFECT_DENY,
}
ON_REFUSAL = {
    OnRefusal.ASK: plan_pb2.ON_REFUSAL_ASK,
    OnRefusal.CONTINUE: plan_pb2.ON_REFUSAL_CONTINUE,
    OnRefusal.CANCEL: plan_pb2.ON_REFUSAL_CANCEL,
}
STEP_ORDERS = {
    StepOrder.INDEPENDENT: plan_pb2.STEP_ORDER_INDEPENDENT,
    StepOrder.SEQUENTIAL: plan_pb2.STEP_ORDER_SEQUENTIAL,
}
_RISKS = {
    Risk.UNSPECIFIED: action_pb2.RISK_UNSPECIFIED,
    Risk.LOW: action_pb2.RISK_LOW,
    Risk.MEDIUM: action_pb2.RISK_MEDIUM,
    Risk.HIGH: action_pb2.RISK_HIGH,
}
_BINDINGS = {
    type(None): action_pb2.BINDING_UNSPECIFIED,
    CommandForm: action_pb2.BINDING_COMMAND,
    HttpForm: action_pb2.BINDING_HTTP,
}


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
                model=options.model,
                max_attempts=options.max_attempts,
                token_budget=options.token_budget,
                order=plan_pb2.STEP_ORDER_UNSPECIFIED if options.order is None else STEP_ORDERS[options.order],
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
        assumed=job.assumed,
        on_refusal=plan_pb2.ON_REFUSAL_UNSPECIFIED if job.on_refusal is None else ON_REFUSAL[job.on_refusal],
        idempotent=job.idempotent,
        effect_key=job.effect_key,
        facts=map(fact_to_proto, job.facts),
    )
    if job.decision is not None:
        message.decision.CopyFrom(decision_to_proto(job.decision))
    return message


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
    return plan_pb2.Decision(
        effect=EFFECTS[decision.effect],
        rule=decision.rule,
        reason=decision.reason,
        required_approvals=decision.required_approvals,
        reviewer_role=decision.reviewer_role,
        approval_ttl=None if decision.approval_ttl is None else duration_to_proto(decision.approval_ttl),
        approval_requirements=[
            plan_pb2.ApprovalRequirement(role=requirement.role, count=requirement.count)
            for requirement in decision.requirements
        ]
        if len(decision.requirements) > 1
        else None,
        governance_digest=decision.governance_digest,
        time_dependent=decision.time_dependent,
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
        actions_shown=report.actions_shown,
        actions_in_catalogue=report.actions_in_catalogue,
        actions_shortened=report.actions_shortened,
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
