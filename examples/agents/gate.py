"""A tool call of an agent as a governed proposal: requested, waited for, answered."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client import Connection, PlangateError, json_to_struct, struct_to_json

_CALLS = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/plangate/plangate/examples/agents")
_ENDED = ("EXECUTED", "FAILED", "REJECTED", "CANCELLED", "EXPIRED")


@dataclass(frozen=True)
class Answer:
    """`refusal` is empty when the action was carried out."""

    result: dict[str, Any]
    refusal: str = ""


async def carry_out(plangate: Connection, call_id: str, action: str, args: dict[str, Any]) -> Answer:
    """Request an action and wait until it was carried out or will not be; people may take days.

    The same `call_id` again, from a run that was resumed, is the same request: nothing is done twice.
    """
    job = plan_pb2.Job(action_name=action, action_args=json_to_struct(args, "action_args"))
    try:
        plan = await plangate.planner.submit_plan(
            f"Tool call: {action}", [job], labels={"source": "agent"}, request_id=str(uuid.uuid5(_CALLS, call_id))
        )
    except PlangateError as error:
        return Answer({}, f"refused: {error}")
    [submitted] = plan.jobs
    if not submitted.proposal_id:
        return Answer({}, f"denied by {submitted.decision.rule}: {submitted.decision.reason}")
    return await _end(plangate, submitted.proposal_id)


async def _end(plangate: Connection, proposal_id: str) -> Answer:
    updates = plangate.store.events.watch(filter=f'entity_id = "{proposal_id}"', progress_interval_seconds=5)
    async with aclosing(updates):
        # The first update comes at once.
        async for _ in updates:
            proposal = await plangate.store.proposals.get(proposal_id)
            state = proposal_pb2.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_")
            if state == "EXECUTED":
                return Answer(struct_to_json(proposal.result))
            if state in _ENDED:
                return Answer({}, f"{state} {proposal.failure.reason}: {proposal.failure.message}")
    raise AssertionError("a watch has no end")
