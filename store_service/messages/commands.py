"""Requests of writing RPCs as the commands that do them, which are named as their RPCs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_BATCH
from store_service import commands
from store_service.commands import Command, Reconsideration, RequestKey
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, NumberNotExact
from store_service.domain.instant import SECOND
from store_service.domain.lease import Failure
from store_service.messages.decoding import (
    decision_from_proto,
    duration_from_proto,
    generated_plan_from_proto,
    plan_draft_from_proto,
    proposal_draft_from_proto,
    request_id_from_proto,
    values_of,
)

_DONE = {rpc.RESOLUTION_DONE: True, rpc.RESOLUTION_NOT_DONE: False}


def method_of(request: Message) -> str:
    """The RPC that a request is for."""
    return request.DESCRIPTOR.name.removesuffix("Request")


def command_from_proto(request: Message, actor: Actor, **granted: bool) -> Command:
    """The command of a request: its fields are those of the same names, and what has another form there.

    granted: how far the caller's roles go. Raises InvalidField, NumberNotExact.
    """
    kind: type[Command] = getattr(commands, method_of(request))
    values = values_of(request, kind) | _other_values(request, actor) | granted
    size = 512 + request.ByteSize() + 1024 * _part_count(request)
    return kind(actor=actor, request=_key(request), size=size, **values)


def wait_seconds(request: rpc.ClaimProposalsRequest | rpc.ClaimPlansRequest) -> float:
    """How long a claim may wait for something to appear: at most a minute."""
    wait = duration_from_proto(request.wait_duration, "wait_duration")
    if not 0 <= wait <= 60 * SECOND:
        raise InvalidField("wait_duration", "must be from 0 to 60 s")
    return wait / SECOND


def _other_values(request: Message, actor: Actor) -> dict[str, Any]:
    match request:
        case rpc.CreatePlanRequest():
            if not request.HasField("plan"):
                raise InvalidField("plan", "is required")
            return {"draft": plan_draft_from_proto(request.plan, "plan")}
        case rpc.CompletePlanningRequest():
            return {"generated": generated_plan_from_proto(request.plan, "plan")}
        case rpc.ClaimPlansRequest():
            return {"max_plans": min(request.max_plans or 1, MAX_BATCH)}
        case rpc.CreateProposalRequest():
            if not request.HasField("proposal"):
                raise InvalidField("proposal", "is required")
            return {"draft": proposal_draft_from_proto(request.proposal, "proposal")}
        case rpc.BatchCreateProposalsRequest() | rpc.BatchApproveProposalsRequest():
            return {"parts": _parts(request.requests[: MAX_BATCH + 1], actor)}
        case rpc.UpdateProposalRequest():
            return {
                "proposal_id": request.proposal.id,
                "draft": proposal_draft_from_proto(request.proposal, "proposal"),
                "fields": frozenset(request.update_mask.paths),
            }
        case rpc.ClaimProposalsRequest():
            return {
                "action_names": frozenset(request.action_names),
                "max_proposals": min(request.max_proposals or 1, MAX_BATCH),
            }
        case rpc.FailProposalRequest() | rpc.FailPlanningRequest():
            # The command refuses an empty one.
            return {"failure": Failure(request.failure.reason, request.failure.message)}
        case rpc.ResolveProposalRequest():
            return {"done": _DONE.get(request.resolution)}
        case rpc.ReconsiderProposalsRequest():
            return {
                "reconsiderations": tuple(
                    Reconsideration(
                        proposal_id=each.id,
                        expected_version=each.expected_version,
                        decision=decision_from_proto(each.decision, f"reconsiderations[{position}].decision"),
                        reason=each.reason,
                    )
                    for position, each in enumerate(request.reconsiderations[: MAX_BATCH + 1])
                )
            }
    return {}


def _part_count(request: Message) -> int:
    """How many proposals or jobs a request lists. However few bytes one has there, it becomes objects and a row."""
    match request:
        case rpc.CreatePlanRequest() | rpc.CompletePlanningRequest():
            return len(request.plan.jobs)
        case rpc.BatchCreateProposalsRequest() | rpc.BatchApproveProposalsRequest():
            return len(request.requests)
        case rpc.ReconsiderProposalsRequest():
            return len(request.reconsiderations)
    return 0


def _parts(requests: Sequence[Any], actor: Actor) -> tuple[Command, ...]:
    parts = []
    for position, request in enumerate(requests):
        path = f"requests[{position}]"
        if request.request_id or request.validate_only:
            raise InvalidField(path, "must leave request_id and validate_only to the batch it is part of")
        try:
            parts.append(command_from_proto(request, actor))
        except InvalidField as refused:
            raise InvalidField(f"{path}.{refused.path}", refused.description) from None
        except NumberNotExact as refused:
            raise NumberNotExact(f"{path}.{refused.path}") from None
    return tuple(parts)


def _key(request: Any) -> RequestKey | None:
    """What makes a repeated call recognizable; None when the client sent no request_id."""
    request_id = request_id_from_proto(getattr(request, "request_id", ""))
    if not request_id:
        return None
    same = type(request)()
    same.CopyFrom(request)
    # Written in capitals it is the same id, and the same request.
    same.request_id = request_id
    if "wait_duration" in same.DESCRIPTOR.fields_by_name:
        # A client whose wait was cut off repeats the request without waiting, and gets the same leases.
        same.ClearField("wait_duration")
    return RequestKey(request_id, hashlib.sha256(same.SerializeToString(deterministic=True)).digest())
