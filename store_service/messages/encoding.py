"""The store's entities as the contract's messages, encoded.

Bytes, not messages: they are hashed into the log, kept there, and sent to clients, without ever being encoded a
second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import json_to_struct
from store_service.domain.instant import SECOND, Instant, Micros
from store_service.domain.plan import Job, Plan
from store_service.domain.proposal import IN_REVIEW_STATES, Fact, Proposal
from store_service.domain.transitions.requirements import approvals_missing, is_broken_glass
from store_service.messages.decoding import NUMBERS

_REQUIREMENT = plan_pb2.ApprovalRequirement.DESCRIPTOR
# Appended to the rest as bytes, or, of a fact's decision, not told.
_ENCODED_APART = {
    (Proposal, "facts"),
    (Plan, "jobs"),
    (Plan, "generation"),
    (Job, "facts"),
    (Fact, "decision"),
}


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
    values = _values(proposal, proposal_pb2.Proposal.DESCRIPTOR)
    if required := proposal.approval_requirements:
        values["approval_requirements"] = [_values(each, _REQUIREMENT) for each in required]
    if proposal.state in IN_REVIEW_STATES:
        values["approvals_missing"] = [_values(each, _REQUIREMENT) for each in approvals_missing(proposal)]
    message = proposal_pb2.Proposal(**values, break_glass=is_broken_glass(proposal.approvals))
    encoded = message.SerializeToString() + _struct_field(_PROPOSAL_ARGS, proposal.args_json)
    if proposal.facts:
        encoded += b"".join(framed(_PROPOSAL_FACTS, _fact_to_bytes(fact)) for fact in proposal.facts)
    return encoded if proposal.result_json is None else encoded + _struct_field(_PROPOSAL_RESULT, proposal.result_json)


def plan_to_bytes(plan: Plan) -> bytes:
    """A plangate.plan.v1.Plan, encoded."""
    parts = [plan_pb2.Plan(**_values(plan, plan_pb2.Plan.DESCRIPTOR)).SerializeToString()]
    parts.extend(framed(_PLAN_JOBS, _job_to_bytes(job)) for job in plan.jobs)
    if plan.generation is not None:
        parts.append(framed(_PLAN_GENERATION, plan.generation))
    if plan.context_json != "{}":
        parts.append(_struct_field(_PLAN_CONTEXT, plan.context_json))
    return b"".join(parts)


def _job_to_bytes(job: Job) -> bytes:
    message = plan_pb2.Job(**_values(job, plan_pb2.Job.DESCRIPTOR))
    return message.SerializeToString() + _struct_field(_JOB_ARGS, job.args_json)


def _fact_to_bytes(fact: Fact) -> bytes:
    """The same bytes for the same fact: checks of the log compare them from entry to entry."""
    message = plan_pb2.Fact(
        **_values(fact, plan_pb2.Fact.DESCRIPTOR),
        action_args=json_to_struct(json.loads(fact.args_json)),
        result=None if fact.result_json is None else json_to_struct(json.loads(fact.result_json)),
    )
    return message.SerializeToString(deterministic=True)


def _values(value: Any, message: Descriptor) -> dict[str, Any]:
    """What the constructor of a message takes of an object's fields, by their names. Without JSON, and what is kept
    encoded."""
    kind: type = type(value)
    plain, written = _writers(kind, message)
    values = {name: found for name in plain if (found := getattr(value, name))}
    for name, write in written:
        if (found := getattr(value, name)) is not None:
            values[name] = write(found)
    return values


@cache
def _writers(kind: type, message: Descriptor) -> tuple[list[str], list[tuple[str, Callable[[Any], Any]]]]:
    """The fields that are written as they are, and the others, each with what writes it."""
    names = [field.name for field in fields(kind) if field.name in message.fields_by_name]
    writers = {name: _writer(message.fields_by_name[name]) for name in names if (kind, name) not in _ENCODED_APART}
    plain = [name for name, write in writers.items() if write is None]
    return plain, [(name, write) for name, write in writers.items() if write is not None]


def _writer(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    if field.enum_type is not None:
        numbers = NUMBERS.get(field.enum_type.full_name)
        return None if numbers is None else numbers.__getitem__
    inner = field.message_type
    if inner is None or inner.GetOptions().map_entry:
        return None
    if inner.full_name == "google.protobuf.Timestamp":
        return timestamp
    if inner.full_name == "google.protobuf.Duration":
        return _duration
    if field.is_repeated:
        return lambda values: [_values(each, inner) for each in values]
    return lambda value: _values(value, inner)


def timestamp(instant: Instant) -> timestamp_pb2.Timestamp:
    """Exact to the microsecond."""
    seconds, micros = divmod(instant, SECOND)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=micros * 1000)


def _duration(micros: Micros) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(micros)
    return duration


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
