"""Entries of the log as what the rules of `domain.log_audit`, and filters of watches, look at."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import StructRefused
from store_service.domain.canonical import args_digest
from store_service.domain.errors import StoreError
from store_service.domain.events import EntityType, Event
from store_service.domain.lease import Lease
from store_service.domain.log_audit import PlanEntry, ProposalEntry
from store_service.domain.plan import PlanState
from store_service.domain.proposal import Approval, Proposal, ProposalState
from store_service.event_log.recent_events import Subject
from store_service.messages.decoding import decision_from_proto, json_from_struct, timestamp_from_proto
from store_service.messages.encoding import framed

_PROPOSAL_STATES = {proposal_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state.value}"): state for state in ProposalState}
_PLAN_STATES = {plan_pb2.PlanState.Value(f"PLAN_STATE_{state.value}"): state for state in PlanState}


def entry_of(event: Event) -> ProposalEntry | PlanEntry:
    """What an event says. Raises ValueError when its snapshot cannot be read as what it is about."""
    try:
        if event.entity_type is EntityType.PROPOSAL:
            return _proposal_entry(event, proposal_pb2.Proposal.FromString(event.snapshot))
        return _plan_entry(event, plan_pb2.Plan.FromString(event.snapshot))
    except (StoreError, KeyError) as problem:
        raise ValueError(f"its snapshot holds what no entity can hold: {problem}") from problem
    except Exception as problem:
        # Protobuf's DecodeError among others.
        raise ValueError("its snapshot cannot be read") from problem


def subject_of(event: Event) -> Subject:
    """The content of the plan or proposal at that time; an empty one when its snapshot cannot be read."""
    try:
        if event.entity_type is EntityType.PLAN:
            plan = plan_pb2.Plan.FromString(event.snapshot)
            return Subject(plan.created_by, dict(plan.labels))
        proposal = proposal_pb2.Proposal.FromString(event.snapshot)
        args = json_from_struct(proposal.action_args, "action_args")
    except (DecodeError, StoreError):
        return Subject()
    return Subject(proposal.created_by, dict(proposal.labels), proposal.action_name, args)


def _proposal_entry(event: Event, message: proposal_pb2.Proposal) -> ProposalEntry:
    if (message.id, message.version) != (event.entity_id, event.version):
        raise ValueError("it is of another entity or version")
    args = message.action_args.SerializeToString(deterministic=True)
    decision = None
    if message.HasField("decision"):
        decision = decision_from_proto(message.decision, "decision", stored=True)
    proposal = Proposal.of(
        id=message.id,
        version=message.version,
        created_by=message.created_by,
        updated_by=message.updated_by,
        plan_id=message.plan_id,
        job_id=message.job_id,
        action_name=message.action_name,
        args_digest=message.args_digest,
        state=_PROPOSAL_STATES[message.state],
        decision=decision,
        required_approvals=message.required_approvals,
        reviewer_role=message.reviewer_role,
        approvals=tuple(_approval(each) for each in message.approvals),
        lease=Lease(message.lease.worker, message.lease.attempt, 0) if message.HasField("lease") else None,
        attempt=message.attempt,
        revised_by=message.revised_by,
        earlier_revisers=tuple(message.earlier_revisers),
    )
    fits = _digest(args) == message.args_digest
    facts = b"".join(framed(b"", each.SerializeToString(deterministic=True)) for each in message.facts)
    outstanding = any(not each.HasField("end_time") for each in message.facts)
    return ProposalEntry(event.kind, event.actor, event.via, proposal, args, fits, facts, outstanding)


def _plan_entry(event: Event, message: plan_pb2.Plan) -> PlanEntry:
    if (message.id, message.version) != (event.entity_id, event.version):
        raise ValueError("it is of another entity or version")
    jobs = hashlib.sha256()
    for job in message.jobs:
        jobs.update(job.SerializeToString(deterministic=True))
    return PlanEntry(event.kind, _PLAN_STATES[message.state], message.version, jobs.digest())


def _approval(message: proposal_pb2.Approval) -> Approval:
    return Approval(
        reviewer=message.reviewer,
        version=message.version,
        args_digest=message.args_digest,
        comment=message.comment,
        create_time=timestamp_from_proto(message.create_time, "approvals.create_time"),
        roles=tuple(message.roles),
        break_glass=message.break_glass,
    )


@lru_cache(maxsize=1024)
def _digest(args: bytes) -> str:
    """The digest of encoded arguments: those of one proposal come with every version of it."""
    try:
        return args_digest(json_from_struct(struct_pb2.Struct.FromString(args), "action_args"))
    except (StoreError, StructRefused):
        return ""
