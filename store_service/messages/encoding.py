"""The store's entities as the contract's messages, encoded.

Bytes, not messages: they are hashed into the log, kept there, and sent to clients, without ever being encoded a
second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from google.protobuf import timestamp_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import json_to_struct
from store_service.domain.instant import SECOND, Instant
from store_service.domain.lease import Failure, Lease
from store_service.domain.plan import Job, Plan, PlanState
from store_service.domain.proposal import (
    IN_REVIEW_STATES,
    Approval,
    ApprovalRequirement,
    Decision,
    Effect,
    Fact,
    Notice,
    OnRefusal,
    Proposal,
    ProposalState,
)
from store_service.domain.transitions.requirements import approvals_missing, is_broken_glass

PROPOSAL_STATES = {state: proposal_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state.value}") for state in ProposalState}
_PLAN_STATES = {state: plan_pb2.PlanState.Value(f"PLAN_STATE_{state.value}") for state in PlanState}
_ON_REFUSAL = {choice: plan_pb2.OnRefusal.Value(f"ON_REFUSAL_{choice.value or 'UNSPECIFIED'}") for choice in OnRefusal}
_EFFECTS = {effect: plan_pb2.Effect.Value(f"EFFECT_{effect.value}") for effect in Effect}


def snapshot_to_bytes(entity: Plan | Proposal) -> bytes:
    """The message of a plan or proposal, encoded."""
    return proposal_to_bytes(entity) if isinstance(entity, Proposal) else plan_to_bytes(entity)


def is_snapshot_of(snapshot: bytes, entity: Plan | Proposal) -> bool:
    """Whether a stored snapshot says what the entity does. (Not byte by byte: the order of map entries is free.)"""
    encoded = snapshot_to_bytes(entity)
    if encoded == snapshot:
        return True
    if not isinstance(entity, Proposal):
        return plan_pb2.Plan.FromString(snapshot) == plan_pb2.Plan.FromString(encoded)
    logged, stored = proposal_pb2.Proposal.FromString(snapshot), proposal_pb2.Proposal.FromString(encoded)
    for message in (logged, stored):
        # Follow from the rest; older stores did not write them down.
        message.ClearField("approvals_missing")
        message.ClearField("break_glass")
    return logged == stored


def proposal_to_bytes(proposal: Proposal) -> bytes:
    """A plangate.store.v1.Proposal, encoded."""
    message = proposal_pb2.Proposal(
        id=proposal.id,
        plan_id=proposal.plan_id,
        job_id=proposal.job_id,
        action_name=proposal.action_name,
        description=proposal.description,
        evidence=proposal.evidence,
        priority=proposal.priority,
        state=PROPOSAL_STATES[proposal.state],
        version=proposal.version,
        args_digest=proposal.args_digest,
        required_approvals=proposal.required_approvals,
        reviewer_role=proposal.reviewer_role,
        attempt=proposal.attempt,
        max_attempts=proposal.max_attempts,
        returned_attempts=proposal.returned_attempts,
        created_by=proposal.created_by,
        updated_by=proposal.updated_by,
        revised_by=proposal.revised_by,
        earlier_revisers=proposal.earlier_revisers,
        cancel_requested=proposal.cancel_requested,
        create_time=timestamp(proposal.create_time),
        update_time=timestamp(proposal.update_time),
    )
    if proposal.labels:
        message.labels.update(proposal.labels)
    if proposal.approvals:
        message.approvals.extend(_approval_to_proto(approval) for approval in proposal.approvals)
    if proposal.assumed:
        message.assumed.extend(proposal.assumed)
    if proposal.on_refusal is not OnRefusal.UNSPECIFIED:
        message.on_refusal = _ON_REFUSAL[proposal.on_refusal]
    if proposal.idempotent:
        message.idempotent = True
    if proposal.effect_key:
        message.effect_key = proposal.effect_key
    if proposal.notices:
        message.notices.extend(_notice_to_proto(notice) for notice in proposal.notices)
    if proposal.earlier_approvals:
        message.earlier_approvals.extend(map(_approval_to_proto, proposal.earlier_approvals))
    if proposal.fact_for:
        message.fact_for = proposal.fact_for
    if proposal.approval_requirements:
        message.approval_requirements.extend(_requirements_to_proto(proposal.approval_requirements))
    if proposal.state in IN_REVIEW_STATES:
        message.approvals_missing.extend(_requirements_to_proto(approvals_missing(proposal)))
    if is_broken_glass(proposal.approvals):
        message.break_glass = True
    if proposal.depends_on:
        message.depends_on.extend(proposal.depends_on)
    if proposal.lease is not None:
        message.lease.CopyFrom(_lease_to_proto(proposal.lease))
    if proposal.failure is not None:
        message.failure.CopyFrom(_failure_to_proto(proposal.failure))
    if proposal.decision is not None:
        message.decision.CopyFrom(_decision_to_proto(proposal.decision))
    for field, instant in (
        (message.submit_time, proposal.submit_time),
        (message.review_time, proposal.review_time),
        (message.execute_time, proposal.execute_time),
        (message.expire_time, proposal.expire_time),
        (message.delete_time, proposal.delete_time),
        (message.not_before_time, proposal.not_before_time),
        (message.end_time, proposal.end_time),
    ):
        if instant is not None:
            _set_timestamp(field, instant)
    encoded = message.SerializeToString() + _struct_field(_PROPOSAL_ARGS, proposal.args_json)
    if proposal.facts:
        encoded += b"".join(framed(_PROPOSAL_FACTS, _fact_to_bytes(fact)) for fact in proposal.facts)
    return encoded if proposal.result_json is None else encoded + _struct_field(_PROPOSAL_RESULT, proposal.result_json)


def plan_to_bytes(plan: Plan) -> bytes:
    """A plangate.plan.v1.Plan, encoded."""
    message = plan_pb2.Plan(
        id=plan.id,
        objective=plan.objective,
        prompt=plan.prompt,
        state=_PLAN_STATES[plan.state],
        version=plan.version,
        created_by=plan.created_by,
        create_time=timestamp(plan.create_time),
        update_time=timestamp(plan.update_time),
        labels=plan.labels,
        no_action_reason=plan.no_action_reason,
        warnings=plan.warnings,
        attempt=plan.attempt,
        max_attempts=plan.max_attempts,
        returned_attempts=plan.returned_attempts,
        priority=plan.priority,
    )
    if plan.lease is not None:
        message.lease.CopyFrom(_lease_to_proto(plan.lease))
    if plan.failure is not None:
        message.failure.CopyFrom(_failure_to_proto(plan.failure))
    if plan.options is not None:
        message.options.CopyFrom(
            plan_pb2.GenerationOptions(
                model=plan.options.model,
                max_attempts=plan.options.max_attempts,
                token_budget=plan.options.token_budget,
                order=plan_pb2.StepOrder.ValueType(plan.options.order),
            )
        )
    if plan.not_before_time is not None:
        _set_timestamp(message.not_before_time, plan.not_before_time)
    if plan.delete_time is not None:
        _set_timestamp(message.delete_time, plan.delete_time)
    parts = [message.SerializeToString()]
    parts.extend(framed(_PLAN_JOBS, _job_to_bytes(job)) for job in plan.jobs)
    if plan.generation is not None:
        parts.append(framed(_PLAN_GENERATION, plan.generation))
    if plan.context_json != "{}":
        parts.append(_struct_field(_PLAN_CONTEXT, plan.context_json))
    return b"".join(parts)


def _approval_to_proto(approval: Approval) -> proposal_pb2.Approval:
    return proposal_pb2.Approval(
        reviewer=approval.reviewer,
        version=approval.version,
        args_digest=approval.args_digest,
        comment=approval.comment,
        create_time=timestamp(approval.create_time),
        roles=approval.roles,
        break_glass=approval.break_glass,
    )


def _fact_to_bytes(fact: Fact) -> bytes:
    """The same bytes for the same fact: checks of the log compare them from entry to entry."""
    message = plan_pb2.Fact(
        action_name=fact.action_name,
        action_args=json_to_struct(json.loads(fact.args_json)),
        proposal_id=fact.proposal_id,
        result=None if fact.result_json is None else json_to_struct(json.loads(fact.result_json)),
        failure=None if fact.failure is None else _failure_to_proto(fact.failure),
    )
    if fact.end_time is not None:
        _set_timestamp(message.end_time, fact.end_time)
    return message.SerializeToString(deterministic=True)


def _notice_to_proto(notice: Notice) -> proposal_pb2.Notice:
    return proposal_pb2.Notice(
        reason=notice.reason,
        message=notice.message,
        proposal_id=notice.proposal_id,
        job_id=notice.job_id,
        create_time=timestamp(notice.create_time),
    )


def _requirements_to_proto(requirements: Iterable[ApprovalRequirement]) -> list[plan_pb2.ApprovalRequirement]:
    return [plan_pb2.ApprovalRequirement(role=each.role, count=each.count) for each in requirements]


def _lease_to_proto(lease: Lease) -> plan_pb2.Lease:
    return plan_pb2.Lease(worker=lease.worker, attempt=lease.attempt, expire_time=timestamp(lease.expire_time))


def _failure_to_proto(failure: Failure) -> plan_pb2.Failure:
    return plan_pb2.Failure(reason=failure.reason, message=failure.message)


def _decision_to_proto(decision: Decision) -> plan_pb2.Decision:
    message = plan_pb2.Decision(
        effect=_EFFECTS[decision.effect],
        reason=decision.reason,
        rule=decision.rule,
        required_approvals=decision.required_approvals,
        reviewer_role=decision.reviewer_role,
        approval_requirements=_requirements_to_proto(decision.approval_requirements),
        governance_digest=decision.governance_digest,
        time_dependent=decision.time_dependent,
        decided_by=decision.decided_by,
    )
    if decision.approval_ttl is not None:
        message.approval_ttl.FromMicroseconds(decision.approval_ttl)
    return message


def _job_to_bytes(job: Job) -> bytes:
    message = plan_pb2.Job(
        id=job.id,
        action_name=job.action_name,
        description=job.description,
        evidence=job.evidence,
        role=job.role,
        input_context=job.input_context,
        depends_on=job.depends_on,
        priority=job.priority,
        proposal_id=job.proposal_id,
        max_attempts=job.max_attempts,
        assumed=job.assumed,
        on_refusal=_ON_REFUSAL[job.on_refusal],
        idempotent=job.idempotent,
        effect_key=job.effect_key,
    )
    if job.will_not_run is not None:
        message.will_not_run.CopyFrom(_failure_to_proto(job.will_not_run))
    if job.decision is not None:
        message.decision.CopyFrom(_decision_to_proto(job.decision))
    return message.SerializeToString() + _struct_field(_JOB_ARGS, job.args_json)


def timestamp(instant: Instant) -> timestamp_pb2.Timestamp:
    """Exact to the microsecond."""
    seconds, micros = divmod(instant, SECOND)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=micros * 1000)


def _set_timestamp(field: timestamp_pb2.Timestamp, instant: Instant) -> None:
    field.seconds, micros = divmod(instant, SECOND)
    field.nanos = micros * 1000


# Arguments change rarely from version to version, while every version is encoded: the bytes of small Structs are
# remembered, and appended to the rest. (Protobuf allows fields in any order.)
_REMEMBERED_CHARACTERS = 1024


def _struct_field(key: bytes, canonical_json: str) -> bytes:
    if len(canonical_json) > _REMEMBERED_CHARACTERS:
        return _encode_struct_field(key, canonical_json)
    return _remembered_struct_field(key, canonical_json)


def _encode_struct_field(key: bytes, canonical_json: str) -> bytes:
    return framed(key, json_to_struct(json.loads(canonical_json)).SerializeToString(deterministic=True))


_remembered_struct_field = lru_cache(maxsize=4096)(_encode_struct_field)


def framed(key: bytes, encoded: bytes) -> bytes:
    """A length-delimited field: its key (see field_key), its length, its bytes."""
    return key + varint(len(encoded)) + encoded


def varint(number: int) -> bytes:
    """A number as protobuf's base-128 varint (https://protobuf.dev/programming-guides/encoding)."""
    if number < 0x80:
        return _SHORT_VARINTS[number]
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_SHORT_VARINTS = [bytes([number]) for number in range(0x80)]


def field_key(field_number: int) -> bytes:
    """The bytes before a length-delimited field."""
    return varint(field_number << 3 | 2)


_PROPOSAL_ARGS = field_key(proposal_pb2.Proposal.ACTION_ARGS_FIELD_NUMBER)
_PROPOSAL_RESULT = field_key(proposal_pb2.Proposal.RESULT_FIELD_NUMBER)
_PROPOSAL_FACTS = field_key(proposal_pb2.Proposal.FACTS_FIELD_NUMBER)
_PLAN_JOBS = field_key(plan_pb2.Plan.JOBS_FIELD_NUMBER)
_PLAN_GENERATION = field_key(plan_pb2.Plan.GENERATION_FIELD_NUMBER)
_PLAN_CONTEXT = field_key(plan_pb2.Plan.CONTEXT_FIELD_NUMBER)
_JOB_ARGS = field_key(plan_pb2.Job.ACTION_ARGS_FIELD_NUMBER)
