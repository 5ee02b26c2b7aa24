"""What was looked up for the reviewers of a proposal."""

from __future__ import annotations

import json

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


def fact_line(fact: plan_pb2.Fact) -> str:
    """What it says, or why it says nothing, on one line: `get_order: {"total": 249}`."""
    text = why_no_fact(fact) or json.dumps(fact_values(fact), ensure_ascii=False, sort_keys=True)
    return f"{fact.action_name}: {text}"


def fact_values(fact: plan_pb2.Fact) -> dict[str, JsonValue]:
    """What it says; empty when there is no result.

    Of what the bundled executor reports, the command's output or the answer's body: its fields, where it is a JSON
    object. What is around it is left out, unless something is missing in it or the command complained.
    """
    result = json_of(fact.result)
    field = "stdout" if "exit_status" in result else "body" if "status" in result else ""
    if field not in result:
        return result
    content = _object(result[field])
    beside = {name: value for name, value in result.items() if name in ("stderr", "output_cut") and value}
    if content is None or content.keys() & beside.keys():
        content = {field: result[field]}
    return {**content, **beside}


def _object(value: JsonValue) -> dict[str, JsonValue] | None:
    """The JSON object that a value is or spells."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def json_of(struct: Struct) -> dict[str, JsonValue]:
    """A Struct as JSON. One that cannot be read as exact JSON becomes one entry that says so."""
    try:
        return struct_to_json(struct, "", byte_limit=1 << 20, depth_limit=100)
    except StructRefused as error:
        return {"": f"<{error}>"}
