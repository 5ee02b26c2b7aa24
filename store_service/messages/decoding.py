"""The contract's messages as what the store's commands are made of. What cannot be meant is refused, by field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.limits import REQUEST_ID
from plangate_core.contract.struct_codec import NumberNotExact as StructNumberNotExact
from plangate_core.contract.struct_codec import StructRefused, struct_to_json
from plangate_core.rpc.identity.caller import Caller
from store_service.domain.actor import Actor
from store_service.domain.canonical import canonical_object
from store_service.domain.errors import InvalidField, NumberNotExact
from store_service.domain.instant import SECOND, Instant, Micros
from store_service.domain.lease import Failure, Lease
from store_service.domain.plan import GeneratedPlan, GenerationOptions, Job, PlanDraft, PlanState
from store_service.domain.proposal import (
    Approval,
    ApprovalRequirement,
    Decision,
    Effect,
    Fact,
    OnRefusal,
    ProposalDraft,
    ProposalState,
)

Read: TypeAlias = Callable[[Any, str], Any]
"""A field's value, and its path for errors."""

NAMES = {
    "args_json": "action_args",
    "result_json": "result",
    "context_json": "context",
    "plan_id": "id",
    "proposal_id": "id",
    "comment": "reason",
}
"""What fields of the store's objects are called in messages that have none of the same name."""

_ENUMS: tuple[tuple[EnumDescriptor, type[StrEnum]], ...] = (
    (plan_pb2.PlanState.DESCRIPTOR, PlanState),
    (plan_pb2.OnRefusal.DESCRIPTOR, OnRefusal),
    (plan_pb2.Effect.DESCRIPTOR, Effect),
    (proposal_pb2.ProposalState.DESCRIPTOR, ProposalState),
)
NUMBERS: Mapping[str, Mapping[StrEnum, Any]] = {
    contract.full_name: {
        value: contract.values_by_name[
            contract.values[0].name.removesuffix("UNSPECIFIED") + (value or "UNSPECIFIED")
        ].number
        for value in ours
    }
    for contract, ours in _ENUMS
}
"""The numbers of the contract's enums, by their names there."""


def values_of(message: Message, kind: type, prefix: str = "", only: Collection[str] | None = None) -> dict[str, Any]:
    """What a message says of the fields of `kind`, a dataclass, or of some of them: those that it has too. What is not
    set is left out.

    prefix: of paths in errors. Raises InvalidField, NumberNotExact.
    """
    values: dict[str, Any] = {}
    for name, there, has_presence, read in _fields(kind, message.DESCRIPTOR):
        if (only is not None and name not in only) or (has_presence and not message.HasField(there)):
            continue
        value = getattr(message, there)
        values[name] = value if read is None else read(value, prefix + there)
    return values


@cache
def _fields(kind: type, message: Descriptor) -> list[tuple[str, str, bool, Read | None]]:
    found = []
    for name in (field.name for field in fields(kind)):
        there = message.fields_by_name.get(name) or message.fields_by_name.get(NAMES.get(name, ""))
        if there is not None:
            found.append((name, there.name, there.has_presence, _reader(there)))
    return found


def _reader(field: FieldDescriptor) -> Read | None:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return lambda value, path: dict(value)
        read: Read | None = _READERS.get(field.message_type.full_name)
    elif field.enum_type is not None and field.enum_type.full_name in NUMBERS:
        values = {number: value for value, number in NUMBERS[field.enum_type.full_name].items()}
        return lambda number, path: _choice(values, number, path)
    else:
        read = None
    if not field.is_repeated:
        return read
    if read is None:
        return lambda value, path: tuple(value)
    return lambda value, path: tuple(read(each, f"{path}[{position}]") for position, each in enumerate(value))


def _choice(values: Mapping[int, StrEnum], number: int, path: str) -> StrEnum:
    if number not in values:
        raise InvalidField(path, "is not a choice of this version" if number else "is required")
    return values[number]


def actor_from_caller(caller: Caller) -> Actor:
    """The one who acts, as the domain knows them."""
    return Actor(caller.identity, caller.roles, caller.authenticated, caller.via, caller.scope)


def executed_action(snapshot: bytes) -> tuple[str, bool]:
    """A proposal's action, and whether a cancel was requested while it was in work."""
    proposal = proposal_pb2.Proposal.FromString(snapshot)
    return proposal.action_name, proposal.cancel_requested


def request_id_from_proto(request_id: str) -> str:
    """A UUID in lower case, or "" when none was given. Raises InvalidField."""
    if request_id and not REQUEST_ID.fullmatch(request_id):
        raise InvalidField("request_id", "must be a UUID such as 7d9f1e0a-3c55-4a0e-9d0c-0f6a1b2c3d4e")
    return request_id.lower()


def duration_from_proto(duration: duration_pb2.Duration, path: str) -> Micros:
    """Raises InvalidField when it is not a valid Duration."""
    if not -999_999_999 <= duration.nanos <= 999_999_999 or abs(duration.seconds) > 315_576_000_000:
        raise InvalidField(path, "is not a valid duration")
    return duration.seconds * SECOND + duration.nanos // 1000


def timestamp_from_proto(timestamp: timestamp_pb2.Timestamp, path: str) -> Instant:
    """Raises InvalidField when it is not a valid Timestamp (years 1 to 9999)."""
    try:
        return timestamp.ToMicroseconds()
    except ValueError:
        raise InvalidField(path, "is not a valid time") from None


def json_from_struct(struct: struct_pb2.Struct, path: str) -> str:
    """Canonical JSON. Raises InvalidField, NumberNotExact."""
    try:
        value = struct_to_json(struct, path)
    except StructNumberNotExact as refused:
        raise NumberNotExact(refused.path) from refused
    except StructRefused as refused:
        raise InvalidField(refused.path, refused.description) from refused
    return canonical_object(value, path)


def decision_from_proto(decision: plan_pb2.Decision, path: str, *, stored: bool = False) -> Decision:
    """Raises InvalidField when nothing was decided. `decided_by` is the store's own word: taken from what it `stored`
    only."""
    values = values_of(decision, Decision, f"{path}.")
    requirements: tuple[ApprovalRequirement, ...] = values["approval_requirements"]
    if len(requirements) == 1:
        # One role is written in the older fields, which every executor reads.
        values["required_approvals"], values["reviewer_role"] = requirements[0].count, requirements[0].role
        values["approval_requirements"] = ()
    elif requirements:
        values["required_approvals"], values["reviewer_role"] = sum(each.count for each in requirements), ""
    if not stored:
        values["decided_by"] = ""
    return Decision(**values)


def proposal_draft_from_proto(proposal: proposal_pb2.Proposal, path: str) -> ProposalDraft:
    """What a client wants a proposal to say; output fields are ignored. Raises InvalidField, NumberNotExact."""
    return ProposalDraft(**values_of(proposal, ProposalDraft, f"{path}."))


def plan_draft_from_proto(plan: plan_pb2.Plan, path: str) -> PlanDraft:
    """What a client wants stored as a plan; output fields are ignored. Raises InvalidField, NumberNotExact."""
    if plan.state not in (plan_pb2.PLAN_STATE_PLANNED, plan_pb2.PLAN_STATE_QUEUED):
        raise InvalidField(f"{path}.state", "must be PLAN_STATE_PLANNED or PLAN_STATE_QUEUED")
    return PlanDraft(**values_of(plan, PlanDraft, f"{path}."))


def generated_plan_from_proto(plan: plan_pb2.Plan, path: str) -> GeneratedPlan:
    """What planning gave; every other field is ignored. Raises InvalidField, NumberNotExact."""
    return GeneratedPlan(**values_of(plan, GeneratedPlan, f"{path}."))


# Of these a client may write a part only: the rest is the store's own word.
_JOB_INPUT = {field.name for field in fields(Job)} - {"proposal_id", "will_not_run"}
_FACT_INPUT = {"action_name", "args_json", "decision", "failure"}

_READERS: Mapping[str, Read] = {
    "google.protobuf.Duration": duration_from_proto,
    "google.protobuf.Timestamp": timestamp_from_proto,
    "google.protobuf.Struct": json_from_struct,
    "plangate.plan.v1.ApprovalRequirement": lambda value, path: ApprovalRequirement(value.role, value.count),
    "plangate.plan.v1.Decision": decision_from_proto,
    "plangate.plan.v1.Fact": lambda value, path: Fact(**values_of(value, Fact, f"{path}.", _FACT_INPUT)),
    "plangate.plan.v1.Failure": lambda value, path: Failure(value.reason, value.message),
    "plangate.plan.v1.GenerationOptions": lambda value, path: GenerationOptions(**values_of(value, GenerationOptions)),
    # Kept encoded, never looked into.
    "plangate.plan.v1.GenerationReport": lambda value, path: value.SerializeToString(deterministic=True),
    "plangate.plan.v1.Job": lambda value, path: Job(**values_of(value, Job, f"{path}.", _JOB_INPUT)),
    "plangate.plan.v1.Lease": lambda value, path: Lease(
        value.worker, value.attempt, timestamp_from_proto(value.expire_time, f"{path}.expire_time")
    ),
    "plangate.store.v1.Approval": lambda value, path: Approval(
        **{"create_time": 0} | values_of(value, Approval, f"{path}.")
    ),
}
