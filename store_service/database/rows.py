"""Between the domain's entities and rows, in pairs. A row is a tuple in the order of the model's columns."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Table

from store_service.database.models import DependencyRow, EventRow, PlanRow, ProposalRow
from store_service.domain.events import GENESIS_HASH, EntityType, Event, EventUnreadable, LogHead
from store_service.domain.lease import Failure, Lease
from store_service.domain.plan import GenerationOptions, Job, Plan, PlanState
from store_service.domain.proposal import Approval, ApprovalRequirement, Decision, Effect, Proposal, ProposalState

Row: TypeAlias = tuple[Any, ...]

PROPOSALS: Table = ProposalRow.__table__  # type: ignore[assignment]
PLANS: Table = PlanRow.__table__  # type: ignore[assignment]
EVENTS: Table = EventRow.__table__  # type: ignore[assignment]
DEPENDENCIES: Table = DependencyRow.__table__  # type: ignore[assignment]

PROPOSAL_COLUMNS = tuple(column.key for column in PROPOSALS.columns)
PLAN_COLUMNS = tuple(column.key for column in PLANS.columns)
EVENT_COLUMNS = tuple(column.key for column in EVENTS.columns)

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_PROPOSAL_STATES = {state.value: state for state in ProposalState}
_PLAN_STATES = {state.value: state for state in PlanState}
_EFFECTS = {effect.value: effect for effect in Effect}
_ENTITY_TYPES = {int(entity_type): entity_type for entity_type in EntityType}
# SQLite lets a column hold any type, and has no truth values of its own.
_EVENT_TYPES = frozenset(
    (int, int, str, int, str, str, truth, str, int, str, str, bytes, bytes, bytes, str) for truth in (bool, int)
)


class LogHeadUnreadable(Exception):
    """The head row of the log holds what no head can hold: somebody changed it."""

    def __init__(self) -> None:
        super().__init__("the head row of the log cannot be read: it was changed")


def proposal_to_row(proposal: Proposal) -> Row:
    lease, failure, decision = proposal.lease, proposal.failure, proposal.decision
    return (
        proposal.id,
        proposal.version,
        proposal.plan_id,
        proposal.job_id,
        proposal.action_name,
        proposal.args_json,
        proposal.args_digest,
        proposal.description,
        proposal.evidence,
        proposal.priority,
        _labels_to_text(proposal.labels),
        proposal.state.value,
        None if decision is None else _encode(_decision_to_json(decision)),
        proposal.required_approvals,
        proposal.reviewer_role,
        _approvals_to_text(proposal.approvals) if proposal.approvals else "[]",
        _encode(proposal.depends_on) if proposal.depends_on else "[]",
        proposal.waiting_for,
        proposal.cancel_requested,
        proposal.result_json,
        None if failure is None else failure.reason,
        None if failure is None else failure.message,
        None if lease is None else lease.worker,
        None if lease is None else lease.expire_time,
        proposal.attempt,
        proposal.max_attempts,
        proposal.not_before_time,
        proposal.submit_time,
        proposal.review_time,
        proposal.execute_time,
        proposal.expire_time,
        proposal.end_time,
        _editors(proposal),
        proposal.returned_attempts,
        proposal.created_by,
        proposal.updated_by,
        proposal.create_time,
        proposal.update_time,
        proposal.delete_time,
    )


# What changes while a proposal is reviewed and executed; the rest changes only when it is edited or hidden. None of
# these but the state is in an index that all proposals are in, or in such an index's condition: SQLite rewrites the
# entries of every index whose columns it is told to set, changed or not.
PROGRESS_COLUMNS = (
    "version",
    "state",
    "approvals",
    "waiting_for",
    "cancel_requested",
    "result_json",
    "failure_reason",
    "failure_message",
    "lease_worker",
    "lease_expire_time",
    "attempt",
    "returned_attempts",
    "not_before_time",
    "submit_time",
    "review_time",
    "execute_time",
    "end_time",
    "updated_by",
    "update_time",
)


def progress_to_row(proposal: Proposal) -> Row:
    """The values of PROGRESS_COLUMNS."""
    lease, failure = proposal.lease, proposal.failure
    return (
        proposal.version,
        proposal.state.value,
        _approvals_to_text(proposal.approvals) if proposal.approvals else "[]",
        proposal.waiting_for,
        proposal.cancel_requested,
        proposal.result_json,
        None if failure is None else failure.reason,
        None if failure is None else failure.message,
        None if lease is None else lease.worker,
        None if lease is None else lease.expire_time,
        proposal.attempt,
        proposal.returned_attempts,
        proposal.not_before_time,
        proposal.submit_time,
        proposal.review_time,
        proposal.execute_time,
        proposal.end_time,
        proposal.updated_by,
        proposal.update_time,
    )


def _editors(proposal: Proposal) -> str:
    """All who edited it in one column, the last one last. An identity has no line breaks."""
    return (
        "\n".join((*proposal.earlier_revisers, proposal.revised_by))
        if proposal.earlier_revisers
        else proposal.revised_by
    )


def proposal_from_row(row: Sequence[Any]) -> Proposal:
    (
        proposal_id,
        version,
        plan_id,
        job_id,
        action_name,
        args_json,
        args_digest,
        description,
        evidence,
        priority,
        labels,
        state,
        decision,
        required_approvals,
        reviewer_role,
        approvals,
        depends_on,
        waiting_for,
        cancel_requested,
        result_json,
        failure_reason,
        failure_message,
        lease_worker,
        lease_expire_time,
        attempt,
        max_attempts,
        not_before_time,
        submit_time,
        review_time,
        execute_time,
        expire_time,
        end_time,
        revised_by,
        returned_attempts,
        created_by,
        updated_by,
        create_time,
        update_time,
        delete_time,
    ) = row
    return Proposal.of(
        id=proposal_id,
        version=version,
        created_by=created_by,
        updated_by=updated_by,
        create_time=create_time,
        update_time=update_time,
        delete_time=delete_time,
        lease=None if lease_worker is None else Lease(lease_worker, attempt, lease_expire_time),
        attempt=attempt,
        max_attempts=max_attempts,
        not_before_time=not_before_time,
        failure=None if failure_reason is None else Failure(failure_reason, failure_message),
        plan_id=plan_id,
        job_id=job_id,
        action_name=action_name,
        args_json=args_json,
        args_digest=args_digest,
        description=description,
        evidence=evidence,
        priority=priority,
        labels={} if labels == "{}" else json.loads(labels),
        state=_PROPOSAL_STATES[state],
        decision=None if decision is None else _decision_from_json(json.loads(decision)),
        required_approvals=required_approvals,
        reviewer_role=reviewer_role,
        approvals=() if approvals == "[]" else tuple(map(_approval_from_json, json.loads(approvals))),
        depends_on=() if depends_on == "[]" else tuple(json.loads(depends_on)),
        waiting_for=waiting_for,
        cancel_requested=bool(cancel_requested),
        result_json=result_json,
        submit_time=submit_time,
        review_time=review_time,
        execute_time=execute_time,
        expire_time=expire_time,
        end_time=end_time,
        revised_by=revised_by if "\n" not in revised_by else revised_by.rpartition("\n")[2],
        earlier_revisers=() if "\n" not in revised_by else tuple(revised_by.split("\n")[:-1]),
        returned_attempts=returned_attempts,
    )


def plan_to_row(plan: Plan) -> Row:
    lease, failure, options = plan.lease, plan.failure, plan.options
    return (
        plan.id,
        plan.version,
        plan.state.value,
        plan.objective,
        plan.prompt,
        _encode([_job_to_json(job) for job in plan.jobs]) if plan.jobs else "[]",
        plan.generation,
        _labels_to_text(plan.labels),
        plan.context_json,
        plan.no_action_reason,
        _encode(plan.warnings) if plan.warnings else "[]",
        plan.priority,
        None
        if options is None
        else _encode([options.model, options.max_attempts, options.token_budget, options.order]),
        None if failure is None else failure.reason,
        None if failure is None else failure.message,
        None if lease is None else lease.worker,
        None if lease is None else lease.expire_time,
        plan.attempt,
        plan.max_attempts,
        plan.not_before_time,
        plan.returned_attempts,
        plan.created_by,
        plan.updated_by,
        plan.create_time,
        plan.update_time,
        plan.delete_time,
    )


def plan_from_row(row: Sequence[Any]) -> Plan:
    (
        plan_id,
        version,
        state,
        objective,
        prompt,
        jobs,
        generation,
        labels,
        context_json,
        no_action_reason,
        warnings,
        priority,
        options,
        failure_reason,
        failure_message,
        lease_worker,
        lease_expire_time,
        attempt,
        max_attempts,
        not_before_time,
        returned_attempts,
        created_by,
        updated_by,
        create_time,
        update_time,
        delete_time,
    ) = row
    return Plan.of(
        id=plan_id,
        version=version,
        created_by=created_by,
        updated_by=updated_by,
        create_time=create_time,
        update_time=update_time,
        delete_time=delete_time,
        lease=None if lease_worker is None else Lease(lease_worker, attempt, lease_expire_time),
        attempt=attempt,
        max_attempts=max_attempts,
        not_before_time=not_before_time,
        returned_attempts=returned_attempts,
        failure=None if failure_reason is None else Failure(failure_reason, failure_message),
        state=_PLAN_STATES[state],
        objective=objective,
        prompt=prompt,
        jobs=() if jobs == "[]" else tuple(_job_from_json(job) for job in json.loads(jobs)),
        generation=generation,
        labels={} if labels == "{}" else json.loads(labels),
        context_json=context_json,
        no_action_reason=no_action_reason,
        warnings=() if warnings == "[]" else tuple(json.loads(warnings)),
        priority=priority,
        options=None if options is None else GenerationOptions(*json.loads(options)),
    )


def event_to_row(event: Event, method: str, fingerprint: bytes | None, answer: int | None) -> Row:
    """`method`, `fingerprint` and `answer` are what finds the answer to a repeated request again."""
    return (
        event.revision,
        int(event.entity_type),
        event.entity_id,
        event.version,
        event.kind,
        event.actor,
        event.authenticated,
        event.via,
        event.time,
        event.request_id,
        event.comment,
        event.snapshot,
        event.prev_hash,
        event.hash,
        event.plan_id,
        method,
        fingerprint,
        answer,
    )


def event_from_row(row: Sequence[Any]) -> Event:
    """From a row of at least the columns up to plan_id. Raises EventUnreadable."""
    if tuple(map(type, row[:15])) not in _EVENT_TYPES:
        raise EventUnreadable(row[0])
    entity_type = _ENTITY_TYPES.get(row[1])
    if entity_type is None or row[3] < 1 or row[6] not in (0, 1):
        raise EventUnreadable(row[0])
    return Event(
        revision=row[0],
        entity_type=entity_type,
        entity_id=row[2],
        version=row[3],
        kind=row[4],
        actor=row[5],
        authenticated=bool(row[6]),
        via=row[7],
        time=row[8],
        request_id=row[9],
        comment=row[10],
        snapshot=row[11],
        prev_hash=row[12],
        hash=row[13],
        plan_id=row[14],
    )


def head_from_row(row: Sequence[Any]) -> LogHead:
    """From (revision, hash). Raises LogHeadUnreadable."""
    revision, digest = row
    if type(revision) is not int or revision < 0 or type(digest) is not bytes or len(digest) != len(GENESIS_HASH):
        raise LogHeadUnreadable
    return LogHead(revision, digest)


def _labels_to_text(labels: Mapping[str, str]) -> str:
    return _encode(dict(labels)) if labels else "{}"


def _approvals_to_text(approvals: tuple[Approval, ...]) -> str:
    return _encode(
        [
            (
                approval.reviewer,
                approval.version,
                approval.args_digest,
                approval.comment,
                approval.create_time,
                approval.roles,
                approval.break_glass,
            )
            for approval in approvals
        ]
    )


def _decision_to_json(decision: Decision) -> dict[str, Any]:
    return {
        "effect": decision.effect.value,
        "reason": decision.reason,
        "rule": decision.rule,
        "required_approvals": decision.required_approvals,
        "reviewer_role": decision.reviewer_role,
        "approval_ttl": decision.approval_ttl,
        "approval_requirements": [(each.role, each.count) for each in decision.approval_requirements],
        "governance_digest": decision.governance_digest,
        "time_dependent": decision.time_dependent,
        "decided_by": decision.decided_by,
    }


def _decision_from_json(value: dict[str, Any]) -> Decision:
    requirements = tuple(ApprovalRequirement(*each) for each in value.get("approval_requirements", ()))
    return Decision(**{**value, "effect": _EFFECTS[value["effect"]], "approval_requirements": requirements})


def _approval_from_json(value: list[Any]) -> Approval:
    """Older stores wrote five values: no roles, no break_glass."""
    return Approval(*value[:5], *((tuple(value[5]), value[6]) if len(value) > 5 else ()))


def _job_to_json(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "action_name": job.action_name,
        "args_json": job.args_json,
        "description": job.description,
        "evidence": job.evidence,
        "role": job.role,
        "input_context": job.input_context,
        "depends_on": job.depends_on,
        "priority": job.priority,
        "decision": None if job.decision is None else _decision_to_json(job.decision),
        "proposal_id": job.proposal_id,
        "max_attempts": job.max_attempts,
    }


def _job_from_json(value: dict[str, Any]) -> Job:
    decision = value["decision"]
    return Job(
        **{
            **value,
            "input_context": tuple(value["input_context"]),
            "depends_on": tuple(value["depends_on"]),
            "decision": None if decision is None else _decision_from_json(decision),
        }
    )
