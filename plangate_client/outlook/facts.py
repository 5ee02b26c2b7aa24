"""What was looked up for the reviewers of a proposal."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import JsonValue, StructRefused, struct_to_json


def facts_outstanding(proposal: proposal_pb2.Proposal) -> list[str]:
    """The actions whose results reviewers must see first, and that are still being fetched."""
    return [fact.action_name for fact in proposal.facts if not fact.HasField("end_time")]


def why_no_fact(fact: plan_pb2.Fact) -> str:
    """Why there is no result to show, as one sentence; empty when there is one."""
    if not fact.HasField("end_time"):
        return "It is being fetched: waits for an executor."
    if fact.HasField("failure"):
        return f"It could not be fetched: {fact.failure.message or fact.failure.reason}."
    return ""


def fact_values(fact: plan_pb2.Fact) -> dict[str, JsonValue]:
    """What it says; empty when there is no result."""
    return json_of(fact.result)


def json_of(struct: Struct) -> dict[str, JsonValue]:
    """A Struct as JSON. One that cannot be read as exact JSON becomes one entry that says so."""
    try:
        return struct_to_json(struct, "", byte_limit=1 << 20, depth_limit=100)
    except StructRefused as error:
        return {"": f"<{error}>"}
