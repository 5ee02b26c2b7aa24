"""Actions and proposals in the words of the Model Context Protocol. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.dependencies import FINAL_STATES, next_step
from plangate_core.contract.enum_names import enum_name
from plangate_core.contract.struct_codec import struct_to_json
from plangate_core.text.printable import visible

RESULT_TOOL = "plangate_result"
CANCEL_TOOL = "plangate_cancel"

_PROPOSAL_ID = {
    "type": "object",
    "properties": {"proposal_id": {"type": "string", "description": "The proposal_id that an earlier call returned."}},
    "required": ["proposal_id"],
    "additionalProperties": False,
}
_OWN_TOOLS = (
    Tool(
        name=RESULT_TOOL,
        description="What became of an earlier tool call that waits for approval or is still being carried out. "
        "Waits a while for it to end.",
        input_schema=_PROPOSAL_ID,
        annotations=ToolAnnotations(read_only_hint=True),
    ),
    Tool(
        name=CANCEL_TOOL,
        description="Withdraw an earlier tool call. One that is being carried out is asked to stop.",
        input_schema=_PROPOSAL_ID,
        annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True),
    ),
)


def tools_of(actions: list[action_pb2.Action]) -> list[Tool]:
    """One tool for each action of the catalogue, and those that ask after an earlier call."""
    return [*(_tool(action) for action in actions), *_OWN_TOOLS]


def _tool(action: action_pb2.Action) -> Tool:
    return Tool(
        name=action.name,
        description=f"{action.description}\nRuns only if policy allows it or the people it names approve it.",
        input_schema=_json(action.parameters),
        annotations=ToolAnnotations(destructive_hint=action.risk != action_pb2.RISK_LOW),
    )


def proposal_result(proposal: proposal_pb2.Proposal) -> CallToolResult:
    """How a call stands: its result, why it failed, or what it waits for and how to ask again."""
    state = enum_name(proposal, "state")
    answer: dict[str, Any] = {"proposal_id": proposal.id, "state": state}
    if proposal.state == proposal_pb2.PROPOSAL_STATE_EXECUTED:
        answer["result"] = _json(proposal.result) if proposal.HasField("result") else {}
        return _result(json.dumps(answer["result"], ensure_ascii=False), answer)
    if proposal.state in FINAL_STATES:
        answer["reason"] = proposal.failure.reason
        message = f"{state}: {next_step(proposal)}"
        if proposal.failure.reason:
            message += f" ({proposal.failure.reason})"
        return _result(message, answer, is_error=True)
    return _result(
        f"Not done yet. {next_step(proposal)} Ask again with {RESULT_TOOL}, proposal_id {proposal.id}. "
        "Do not repeat the original call: that would request it a second time.",
        answer,
    )


def denied_result(job: plan_pb2.Job) -> CallToolResult:
    """A call that policy denied, or that will not run for another reason that is known at once."""
    if job.decision.effect == plan_pb2.EFFECT_DENY:
        reason, rule = job.decision.reason or "denied by policy", job.decision.rule
        return _result(f"Denied by policy: {reason} (rule {rule})", {"state": "DENIED", "rule": rule}, is_error=True)
    return _result(f"Will not run: {job.will_not_run.message}", {"state": "DENIED"}, is_error=True)


def error_result(message: str, reason: str = "") -> CallToolResult:
    """A call that the servers refused."""
    return _result(message, {"state": "REFUSED", "reason": reason}, is_error=True)


def _result(text: str, structured: Mapping[str, Any], *, is_error: bool = False) -> CallToolResult:
    # Reasons and results are other people's words, and the agent's host may show them on a terminal.
    content = [TextContent(text=visible(text, newlines=True))]
    return CallToolResult(content=[*content], structured_content=dict(structured), is_error=is_error)


def _json(struct: Any) -> dict[str, Any]:
    return dict(struct_to_json(struct, "value", byte_limit=1 << 20, depth_limit=100))
