"""The contract's messages as what the store's commands are made of. What cannot be meant is refused, by field."""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import NumberNotExact as StructNumberNotExact
from plangate_core.contract.struct_codec import StructRefused, struct_to_json
from plangate_core.rpc.identity.caller import Caller
from store_service.domain import limits
from store_service.domain.actor import Actor
from store_service.domain.canonical import canonical_object
from store_service.domain.errors import InvalidField, NumberNotExact
from store_service.domain.instant import SECOND, Instant, Micros
from store_service.domain.lease import Failure
from store_service.domain.plan import GeneratedPlan, GenerationOptions, Job, PlanDraft, PlanState
from store_service.domain.proposal import ApprovalRequirement, Decision, Effect, Fact, OnRefusal, ProposalDraft

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_PLAN_STATES = {plan_pb2.PlanState.Value(f"PLAN_STATE_{state.value}"): state for state in PlanState}
_ON_REFUSAL: dict[int, OnRefusal] = {
    plan_pb2.OnRefusal.Value(f"ON_REFUSAL_{choice.value or 'UNSPECIFIED'}"): choice for choice in OnRefusal
}
_EFFECTS = {plan_pb2.Effect.Value(f"EFFECT_{effect.value}"): effect for effect in Effect}


def actor_from_caller(caller: Caller) -> Actor:
    """The one who acts, as the domain knows them."""
    return Actor(caller.identity, caller.roles, caller.authenticated, caller.via, caller.scope)


def executed_action(snapshot: bytes) -> tuple[str, bool]:
    """A proposal's action, and whether a cancel was requested while it was in work."""
    proposal = proposal_pb2.Proposal.FromString(snapshot)
    return proposal.action_name, proposal.cancel_requested


def request_id_from_proto(request_id: str, path: str = "request_id") -> str:
    """A UUID in lower case, or "" when none was given. Raises InvalidField."""
    if request_id and not _UUID.fullmatch(request_id):
        raise InvalidField(path, "must be a UUID such as 7d9f1e0a-3c55-4a0e-9d0c-0f6a1b2c3d4e")
    return request_id.lower()


def resource_id_from_proto(resource_id: str, path: str = "id") -> str:
    """An id that may exist: databases refuse to look for some texts, and one statement looks for several callers' ids.
    Raises InvalidField."""
    limits.resource_id(path, resource_id)
    return resource_id


def duration_from_proto(duration: duration_pb2.Duration, path: str) -> Micros:
    """Raises InvalidField when it is not a valid Duration."""
    if not -999_999_999 <= duration.nanos <= 999_999_999 or abs(duration.seconds) > 315_576_000_000:
        raise InvalidField(path, "is not a valid duration")
    return duration.seconds * SECOND + duration.nanos // 1000


def timestamp_from_proto(timestamp: timestamp_pb2.Timestamp, path: str) -> Instant:
    """Raises InvalidField when it is not a valid Timestamp (years 1 to 9999)."""
    if not 0 <= timestamp.nanos <= 999_999_999 or not -62_135_596_800 <= timestamp.seconds <= 253_402_300_799:
        raise InvalidField(path, "is not a valid time")
    return timestamp.seconds * SECOND + timestamp.nanos // 1000


def json_from_struct(struct: struct_pb2.Struct, path: str) -> str:
    """Canonical JSON. Raises InvalidField, NumberNotExact."""
    try:
        value = struct_to_json(struct, path)
    except StructNumberNotExact as refused:
        raise NumberNotExact(refused.path) from refused
    except StructRefused as refused:
        raise InvalidField(refused.path, refused.description) from refused
    return canonical_object(value, path)


def failure_from_proto(failure: plan_pb2.Failure) -> Failure:
    """What went wrong, in the reporter's words."""
    return Failure(failure.reason, failure.message)


def decision_from_proto(decision: plan_pb2.Decision, path: str, *, stored: bool = False) -> Decision:
    """Raises InvalidField when nothing was decided. `decided_by` is the store's own word: taken from what it `stored`
    only."""
    effect = _EFFECTS.get(decision.effect)
    if effect is None:
        raise InvalidField(f"{path}.effect", "is required")
    ttl = None
    if decision.HasField("approval_ttl"):
        ttl = duration_from_proto(decision.approval_ttl, f"{path}.approval_ttl")
    required_approvals, reviewer_role = decision.required_approvals, decision.reviewer_role
    requirements = tuple(ApprovalRequirement(each.role, each.count) for each in decision.approval_requirements)
    if len(requirements) == 1:
        # One role is written in the older fields, which every executor reads.
        required_approvals, reviewer_role, requirements = requirements[0].count, requirements[0].role, ()
    elif requirements:
        required_approvals, reviewer_role = sum(each.count for each in requirements), ""
    return Decision(
        effect=effect,
        reason=decision.reason,
        rule=decision.rule,
        required_approvals=required_approvals,
        reviewer_role=reviewer_role,
        approval_ttl=ttl,
        approval_requirements=requirements,
        governance_digest=decision.governance_digest,
        time_dependent=decision.time_dependent,
        decided_by=decision.decided_by if stored else "",
    )


def proposal_draft_from_proto(proposal: proposal_pb2.Proposal, path: str) -> ProposalDraft:
    """What a client wants a proposal to say; output fields are ignored. Raises InvalidField, NumberNotExact."""
    return ProposalDraft(
        action_name=proposal.action_name,
        args_json=json_from_struct(proposal.action_args, f"{path}.action_args"),
        description=proposal.description,
        evidence=proposal.evidence,
        priority=proposal.priority,
        labels=dict(proposal.labels) if proposal.labels else {},
        required_approvals=proposal.required_approvals,
        reviewer_role=proposal.reviewer_role,
        max_attempts=proposal.max_attempts,
        depends_on=tuple(proposal.depends_on) if proposal.depends_on else (),
        expire_time=(
            timestamp_from_proto(proposal.expire_time, f"{path}.expire_time")
            if proposal.HasField("expire_time")
            else None
        ),
        decision=(
            decision_from_proto(proposal.decision, f"{path}.decision") if proposal.HasField("decision") else None
        ),
        assumed=tuple(proposal.assumed),
        on_refusal=_on_refusal_from_proto(proposal.on_refusal, f"{path}.on_refusal"),
        idempotent=proposal.idempotent,
        effect_key=proposal.effect_key,
        facts=_facts_from_proto(proposal.facts, f"{path}.facts"),
    )


def plan_draft_from_proto(plan: plan_pb2.Plan, path: str) -> PlanDraft:
    """What a client wants stored as a plan; output fields are ignored. Raises InvalidField, NumberNotExact."""
    state = _PLAN_STATES.get(plan.state)
    if state not in (PlanState.PLANNED, PlanState.QUEUED):
        raise InvalidField(f"{path}.state", "must be PLAN_STATE_PLANNED or PLAN_STATE_QUEUED")
    return PlanDraft(
        state=state,
        prompt=plan.prompt,
        labels=dict(plan.labels),
        context_json=json_from_struct(plan.context, f"{path}.context"),
        options=(
            GenerationOptions(
                plan.options.model, plan.options.max_attempts, plan.options.token_budget, plan.options.order
            )
            if plan.HasField("options")
            else None
        ),
        max_attempts=plan.max_attempts,
        priority=plan.priority,
        objective=plan.objective,
        jobs=_jobs_from_proto(plan, path),
        generation=_generation_from_proto(plan),
        no_action_reason=plan.no_action_reason,
        warnings=tuple(plan.warnings),
    )


def generated_plan_from_proto(plan: plan_pb2.Plan, path: str) -> GeneratedPlan:
    """What planning gave; every other field is ignored. Raises InvalidField, NumberNotExact."""
    return GeneratedPlan(
        objective=plan.objective,
        jobs=_jobs_from_proto(plan, path),
        generation=_generation_from_proto(plan),
        no_action_reason=plan.no_action_reason,
        warnings=tuple(plan.warnings),
    )


def report_to_bytes(report: plan_pb2.GenerationReport) -> bytes:
    """A GenerationReport as the store keeps it: encoded, never looked into."""
    return report.SerializeToString(deterministic=True)


def _generation_from_proto(plan: plan_pb2.Plan) -> bytes | None:
    return report_to_bytes(plan.generation) if plan.HasField("generation") else None


def _jobs_from_proto(plan: plan_pb2.Plan, path: str) -> tuple[Job, ...]:
    return tuple(_job_from_proto(job, f"{path}.jobs[{position}]") for position, job in enumerate(plan.jobs))


def _job_from_proto(job: plan_pb2.Job, path: str) -> Job:
    return Job(
        id=job.id,
        action_name=job.action_name,
        args_json=json_from_struct(job.action_args, f"{path}.action_args"),
        description=job.description,
        evidence=job.evidence,
        role=job.role,
        input_context=tuple(job.input_context),
        depends_on=tuple(job.depends_on),
        priority=job.priority,
        decision=decision_from_proto(job.decision, f"{path}.decision") if job.HasField("decision") else None,
        max_attempts=job.max_attempts,
        assumed=tuple(job.assumed),
        on_refusal=_on_refusal_from_proto(job.on_refusal, f"{path}.on_refusal"),
        idempotent=job.idempotent,
        effect_key=job.effect_key,
        facts=_facts_from_proto(job.facts, f"{path}.facts"),
    )


def _facts_from_proto(facts: Iterable[plan_pb2.Fact], path: str) -> tuple[Fact, ...]:
    return tuple(_fact_from_proto(fact, f"{path}[{position}]") for position, fact in enumerate(facts))


def _fact_from_proto(fact: plan_pb2.Fact, path: str) -> Fact:
    """What is to be looked up; what comes of it is the store's own word."""
    return Fact(
        action_name=fact.action_name,
        args_json=json_from_struct(fact.action_args, f"{path}.action_args"),
        decision=decision_from_proto(fact.decision, f"{path}.decision") if fact.HasField("decision") else None,
        failure=failure_from_proto(fact.failure) if fact.HasField("failure") else None,
    )


def _on_refusal_from_proto(choice: int, path: str) -> OnRefusal:
    if choice not in _ON_REFUSAL:
        raise InvalidField(path, "is not a choice of this version")
    return _ON_REFUSAL[choice]
