"""Messages as the planner's own types: `job_from_proto`. What the store has is decoded here whole.

Raises InvalidField, which names the field as on the wire.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect
from plangate_core.contract.struct_codec import JsonObject, NumberNotExact, StructRefused, struct_to_json
from planner_service.errors import InvalidField
from planner_service.governance.decision import Decision
from planner_service.messages.encoding import DECISION_FIELDS, EFFECTS, JOB_FIELDS, ON_REFUSAL, STEP_ORDERS, copied
from planner_service.plan import ClaimedPlan, Job, OpenProposal, Options, Plan, PlanRequest, Proposal

# Numbers that are not known here, of a newer client, count as not set.
ON_REFUSAL_OF = {number: on_refusal for on_refusal, number in ON_REFUSAL.items()}
STEP_ORDER_OF = {number: order for order, number in STEP_ORDERS.items()}
_EFFECTS_BACK = {number: effect for effect, number in EFFECTS.items()}


def json_from_proto(message: Struct, path: str) -> JsonObject:
    """A Struct as JSON, whole numbers as integers."""
    try:
        return struct_to_json(message, path)
    except StructRefused as error:
        inexact = isinstance(error, NumberNotExact)
        raise InvalidField(error.path, error.description, "NUMBER_NOT_EXACT" if inexact else "INVALID_FIELD") from None


def job_from_proto(message: plan_pb2.Job, path: str) -> Job:
    """A job without what the planner adds to it: decision, assumed arguments."""
    return Job(
        **copied(message, *JOB_FIELDS),
        action_args=json_from_proto(message.action_args, f"{path}.action_args"),
        input_context=tuple(message.input_context),
        depends_on=tuple(message.depends_on),
        on_refusal=ON_REFUSAL_OF.get(message.on_refusal),
    )


def time_from_proto(message: Timestamp, path: str) -> datetime:
    """An aware time in UTC, to the microsecond."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(path, "is not a time between the years 1 and 9999") from None


def stored_plan_from_proto(message: plan_pb2.Plan) -> Plan:
    """What a stored plan says, with the decisions of its jobs."""
    return Plan(
        objective=message.objective,
        prompt=message.prompt,
        jobs=tuple(_stored_job_from_proto(job, index) for index, job in enumerate(message.jobs)),
        context=json_from_proto(message.context, "context"),
        labels=dict(message.labels),
        options=_stored_options(message),
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
            options=_stored_options(message),
        ),
    )


def _stored_options(plan: plan_pb2.Plan) -> Options:
    options = plan.options
    return Options(options.model, options.max_attempts, options.token_budget, STEP_ORDER_OF.get(options.order))


def proposal_from_proto(message: proposal_pb2.Proposal) -> Proposal:
    """A proposal as far as revising it needs to know."""
    return Proposal(
        **copied(message, "id", "action_name", "description", "priority", "created_by"),
        action_args=json_from_proto(message.action_args, "action_args"),
        labels=dict(message.labels),
        answer=message,
        assumed=tuple(message.assumed),
        depends_on=tuple(message.depends_on),
    )


def open_proposal_from_proto(message: proposal_pb2.Proposal) -> OpenProposal:
    """A proposal as far as deciding about it again needs to know."""
    writers = (message.created_by, *message.earlier_revisers, message.revised_by)
    return OpenProposal(
        id=message.id,
        version=message.version,
        job=Job(
            id=message.job_id or message.id,
            action_name=message.action_name,
            action_args=json_from_proto(message.action_args, "action_args"),
            assumed=tuple(message.assumed),
            decision=decision_from_proto(message.decision) if message.HasField("decision") else None,
        ),
        labels=dict(message.labels),
        requesters=tuple(dict.fromkeys(writer for writer in writers if writer)),
        decided_by=message.decision.decided_by,
        is_approved=message.state == proposal_pb2.PROPOSAL_STATE_APPROVED,
        update_time=time_from_proto(message.update_time, "update_time"),
    )


def _stored_job_from_proto(message: plan_pb2.Job, index: int) -> Job:
    return replace(
        job_from_proto(message, f"jobs[{index}]"),
        assumed=tuple(message.assumed),
        idempotent=message.idempotent,
        effect_key=message.effect_key,
        decision=decision_from_proto(message.decision) if message.HasField("decision") else None,
    )


def decision_from_proto(message: plan_pb2.Decision) -> Decision:
    """What policy decided."""
    requirements = tuple(ApprovalRequirement(each.role, each.count) for each in message.approval_requirements)
    if not requirements and message.required_approvals:
        requirements = (ApprovalRequirement(message.reviewer_role, message.required_approvals),)
    return Decision(
        **copied(message, *DECISION_FIELDS),
        effect=_EFFECTS_BACK.get(message.effect, Effect.DENY),
        requirements=requirements,
        approval_ttl=message.approval_ttl.ToTimedelta() if message.HasField("approval_ttl") else None,
    )
