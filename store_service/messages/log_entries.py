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
from store_service.domain.log_audit import PlanEntry, ProposalEntry
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal
from store_service.event_log.recent_events import Subject
from store_service.messages.decoding import decision_from_proto, json_from_struct, values_of
from store_service.messages.encoding import framed

# What the rules look at.
_AUDITED = frozenset(
    {
        *("id", "version", "created_by", "updated_by", "plan_id", "job_id", "action_name", "args_digest", "state"),
        *("required_approvals", "reviewer_role", "approvals", "lease", "attempt", "revised_by", "earlier_revisers"),
    }
)


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
    proposal = Proposal.of(**values_of(message, Proposal, only=_AUDITED), decision=decision)
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
    return PlanEntry(event.kind, values_of(message, Plan, only=("state",))["state"], message.version, jobs.digest())


@lru_cache(maxsize=1024)
def _digest(args: bytes) -> str:
    """The digest of encoded arguments: those of one proposal come with every version of it."""
    try:
        return args_digest(json_from_struct(struct_pb2.Struct.FromString(args), "action_args"))
    except (StoreError, StructRefused):
        return ""
