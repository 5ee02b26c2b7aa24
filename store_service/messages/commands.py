"""One function per writing RPC: its request as the command that does it. Raises InvalidField, NumberNotExact."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.message import Message
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_BATCH
from store_service import commands
from store_service.commands import RequestKey
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, NumberNotExact
from store_service.domain.instant import SECOND, Micros
from store_service.domain.proposal import UPDATABLE_FIELDS
from store_service.messages.decoding import (
    decision_from_proto,
    duration_from_proto,
    failure_from_proto,
    generated_plan_from_proto,
    json_from_struct,
    plan_draft_from_proto,
    proposal_draft_from_proto,
    report_to_bytes,
    request_id_from_proto,
)

MAX_WAIT: Micros = 60 * SECOND
_DONE = {rpc.RESOLUTION_DONE: True, rpc.RESOLUTION_NOT_DONE: False}

# --- Plans -----------------------------------------------------------------------------------------------------


def create_plan(request: rpc.CreatePlanRequest, actor: Actor) -> commands.CreatePlan:
    if not request.HasField("plan"):
        raise InvalidField("plan", "is required")
    return commands.CreatePlan(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        draft=plan_draft_from_proto(request.plan, "plan"),
    )


def cancel_plan(request: rpc.CancelPlanRequest, actor: Actor, *, only_creator: bool) -> commands.CancelPlan:
    return commands.CancelPlan(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        plan_id=request.id,
        expected_version=request.expected_version,
        comment=request.reason,
        only_creator=only_creator,
    )


def delete_plan(request: rpc.DeletePlanRequest, actor: Actor, *, only_creator: bool) -> commands.DeletePlan:
    return commands.DeletePlan(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        plan_id=request.id,
        expected_version=request.expected_version,
        comment=request.comment,
        purge=request.purge,
        only_creator=only_creator,
    )


def claim_plans(request: rpc.ClaimPlansRequest, actor: Actor) -> commands.ClaimPlans:
    return commands.ClaimPlans(
        actor=actor,
        request=_claim_key(request),
        max_plans=min(request.max_plans or 1, MAX_BATCH),
        lease_duration=_lease_duration(request),
    )


def renew_plan_lease(request: rpc.RenewPlanLeaseRequest, actor: Actor) -> commands.RenewPlanLease:
    return commands.RenewPlanLease(
        actor=actor, plan_id=request.id, attempt=request.attempt, lease_duration=_lease_duration(request)
    )


def complete_planning(request: rpc.CompletePlanningRequest, actor: Actor) -> commands.CompletePlanning:
    return commands.CompletePlanning(
        actor=actor,
        request=_key(request, request.request_id),
        plan_id=request.id,
        attempt=request.attempt,
        generated=generated_plan_from_proto(request.plan, "plan"),
    )


def fail_planning(request: rpc.FailPlanningRequest, actor: Actor) -> commands.FailPlanning:
    return commands.FailPlanning(
        actor=actor,
        request=_key(request, request.request_id),
        plan_id=request.id,
        attempt=request.attempt,
        failure=failure_from_proto(request.failure),
        generation=report_to_bytes(request.generation) if request.HasField("generation") else None,
        retryable=request.retryable,
        retry_delay=(
            duration_from_proto(request.retry_delay, "retry_delay") if request.HasField("retry_delay") else None
        ),
        interrupted=request.interrupted,
    )


# --- Proposals -------------------------------------------------------------------------------------------------


def create_proposal(request: rpc.CreateProposalRequest, actor: Actor) -> commands.CreateProposal:
    if not request.HasField("proposal"):
        raise InvalidField("proposal", "is required")
    return commands.CreateProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        draft=proposal_draft_from_proto(request.proposal, "proposal"),
        submit=request.submit,
    )


def batch_create_proposals(request: rpc.BatchCreateProposalsRequest, actor: Actor) -> commands.BatchCreateProposals:
    creations = []
    for position, part in enumerate(request.requests[: MAX_BATCH + 1]):
        _refuse_own_options(part.request_id, part.validate_only, position)
        try:
            creations.append(create_proposal(part, actor))
        except InvalidField as refused:
            raise InvalidField(f"requests[{position}].{refused.path}", refused.description) from None
        except NumberNotExact as refused:
            raise NumberNotExact(f"requests[{position}].{refused.path}") from None
    return commands.BatchCreateProposals(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        creations=tuple(creations),
    )


def update_proposal(request: rpc.UpdateProposalRequest, actor: Actor) -> commands.UpdateProposal:
    fields = frozenset(request.update_mask.paths)
    for name in sorted(fields - UPDATABLE_FIELDS):
        raise InvalidField("update_mask", f"names {name[:64]!r}, which cannot be updated")
    return commands.UpdateProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.proposal.id,
        expected_version=request.expected_version,
        comment=request.comment,
        draft=proposal_draft_from_proto(request.proposal, "proposal"),
        fields=fields,
    )


def submit_proposal(request: rpc.SubmitProposalRequest, actor: Actor, *, only_creator: bool) -> commands.SubmitProposal:
    return commands.SubmitProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.comment,
        only_creator=only_creator,
    )


def approve_proposal(request: rpc.ApproveProposalRequest, actor: Actor) -> commands.ApproveProposal:
    return commands.ApproveProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.comment,
        args_digest=request.args_digest,
    )


def batch_approve_proposals(request: rpc.BatchApproveProposalsRequest, actor: Actor) -> commands.BatchApproveProposals:
    approvals = []
    for position, part in enumerate(request.requests[: MAX_BATCH + 1]):
        _refuse_own_options(part.request_id, part.validate_only, position)
        approvals.append(approve_proposal(part, actor))
    return commands.BatchApproveProposals(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        approvals=tuple(approvals),
    )


def withdraw_approval(request: rpc.WithdrawApprovalRequest, actor: Actor) -> commands.WithdrawApproval:
    return commands.WithdrawApproval(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.comment,
    )


def break_glass(request: rpc.BreakGlassRequest, actor: Actor) -> commands.BreakGlass:
    return commands.BreakGlass(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.reason,
        args_digest=request.args_digest,
    )


def reject_proposal(request: rpc.RejectProposalRequest, actor: Actor) -> commands.RejectProposal:
    return commands.RejectProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.reason,
    )


def cancel_proposal(request: rpc.CancelProposalRequest, actor: Actor, *, only_creator: bool) -> commands.CancelProposal:
    return commands.CancelProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.reason,
        only_creator=only_creator,
    )


def delete_proposal(request: rpc.DeleteProposalRequest, actor: Actor, *, only_creator: bool) -> commands.DeleteProposal:
    return commands.DeleteProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.comment,
        purge=request.purge,
        only_creator=only_creator,
    )


# --- Executions ------------------------------------------------------------------------------------------------


def claim_proposals(request: rpc.ClaimProposalsRequest, actor: Actor) -> commands.ClaimProposals:
    return commands.ClaimProposals(
        actor=actor,
        request=_claim_key(request),
        action_names=frozenset(request.action_names),
        max_proposals=min(request.max_proposals or 1, MAX_BATCH),
        lease_duration=_lease_duration(request),
        plan_id=request.plan_id,
    )


def renew_lease(request: rpc.RenewLeaseRequest, actor: Actor) -> commands.RenewLease:
    return commands.RenewLease(
        actor=actor, proposal_id=request.id, attempt=request.attempt, lease_duration=_lease_duration(request)
    )


def complete_proposal(request: rpc.CompleteProposalRequest, actor: Actor) -> commands.CompleteProposal:
    return commands.CompleteProposal(
        actor=actor,
        request=_key(request, request.request_id),
        proposal_id=request.id,
        expected_version=request.expected_version,
        attempt=request.attempt,
        result_json=json_from_struct(request.result, "result"),
    )


def fail_proposal(request: rpc.FailProposalRequest, actor: Actor) -> commands.FailProposal:
    return commands.FailProposal(
        actor=actor,
        request=_key(request, request.request_id),
        proposal_id=request.id,
        expected_version=request.expected_version,
        attempt=request.attempt,
        failure=failure_from_proto(request.failure),
        not_started=request.not_started,
        retryable=request.retryable,
        retry_delay=duration_from_proto(request.retry_delay, "retry_delay"),
        result_json=json_from_struct(request.result, "result") if request.HasField("result") else None,
    )


def resolve_proposal(
    request: rpc.ResolveProposalRequest, actor: Actor, *, as_executor: bool
) -> commands.ResolveProposal:
    return commands.ResolveProposal(
        actor=actor,
        request=_key(request, request.request_id),
        validate_only=request.validate_only,
        proposal_id=request.id,
        expected_version=request.expected_version,
        comment=request.reason,
        done=_DONE.get(request.resolution),
        retry=request.retry,
        as_executor=as_executor,
        result_json=json_from_struct(request.result, "result") if request.HasField("result") else None,
    )


def set_governance(request: rpc.SetGovernanceRequest, actor: Actor) -> commands.SetGovernance:
    return commands.SetGovernance(actor=actor, digest=request.digest)


def reconsider_proposals(request: rpc.ReconsiderProposalsRequest, actor: Actor) -> commands.ReconsiderProposals:
    return commands.ReconsiderProposals(
        actor=actor,
        request=_key(request, request.request_id),
        reconsiderations=tuple(
            commands.Reconsideration(
                proposal_id=each.id,
                expected_version=each.expected_version,
                decision=decision_from_proto(each.decision, f"reconsiderations[{position}].decision"),
                reason=each.reason,
            )
            for position, each in enumerate(request.reconsiderations[: MAX_BATCH + 1])
        ),
    )


def wait_seconds(request: rpc.ClaimProposalsRequest | rpc.ClaimPlansRequest) -> float:
    """How long a claim may wait for something to appear: at most a minute."""
    wait = duration_from_proto(request.wait_duration, "wait_duration")
    if not 0 <= wait <= MAX_WAIT:
        raise InvalidField("wait_duration", "must be from 0 to 60 s")
    return wait / SECOND


def _lease_duration(
    request: (rpc.ClaimPlansRequest | rpc.RenewPlanLeaseRequest | rpc.ClaimProposalsRequest | rpc.RenewLeaseRequest),
) -> Micros | None:
    if not request.HasField("lease_duration"):
        return None
    duration: duration_pb2.Duration = request.lease_duration
    return duration_from_proto(duration, "lease_duration")


def _claim_key(request: rpc.ClaimProposalsRequest | rpc.ClaimPlansRequest) -> RequestKey | None:
    """wait_duration is no part of the request's identity: a client whose wait was cut off repeats the request without
    waiting, and gets the same leases."""
    claim: Any = type(request)()
    claim.CopyFrom(request)
    claim.ClearField("wait_duration")
    return _key(claim, request.request_id)


def _key(request: Message, request_id: str) -> RequestKey | None:
    """What makes a repeated call recognizable; None when the client sent no request_id."""
    if not request_id:
        return None
    known_as = request_id_from_proto(request_id)
    if known_as != request_id:
        # Written in capitals it is the same id, and the same request.
        copy = type(request)()
        copy.CopyFrom(request)
        copy.request_id = known_as  # type: ignore[attr-defined]  # every request that has a key has the field
        request = copy
    content = request.SerializeToString(deterministic=True)
    return RequestKey(known_as, hashlib.sha256(content).digest())


def _refuse_own_options(request_id: str, validate_only: bool, position: int) -> None:
    if request_id or validate_only:
        raise InvalidField(
            f"requests[{position}]", "must leave request_id and validate_only to the batch it is part of"
        )
