"""Tests of actions without servers: one job goes through the same checks as an approved proposal.

outcome = await testing.run_job(refund, {"order_id": "4711", "amount": 89.9})
assert outcome.succeeded
assert outcome.result == {"refund_id": "r-1"}
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import LeasedProposal, execute
from plangate_client.executor.outcome import Outcome
from plangate_client.worker.action import WorkerAction
from plangate_client.worker.running import bound_actions
from plangate_core.contract.struct_codec import json_to_struct, struct_to_json

__all__ = ["Outcome", "run_job"]


async def run_job(
    action: WorkerAction[..., Any],
    args: Mapping[str, Any],
    *,
    requested_by: str = "requester",
    approved_by: Sequence[str] = (),
    required_approvals: int = 0,
    attempt: int = 1,
) -> Outcome:
    """Carry the action out once, as the executor does with an approved proposal: digest, approvals and arguments are
    checked, then the function is called.

    The arguments go through the contract's encoding, so that numbers arrive as they would from the store.

    :param approved_by: reviewers who approved these arguments.
    :param required_approvals: how many of them policy asks for.
    """
    struct = json_to_struct(dict(args), "args")
    digest = hashlib.sha256(rfc8785.dumps(struct_to_json(struct, "args"))).hexdigest()
    proposal = proposal_pb2.Proposal(
        id=str(uuid.uuid4()),
        action_name=action.name,
        action_args=struct,
        args_digest=digest,
        state=proposal_pb2.PROPOSAL_STATE_EXECUTING,
        created_by=requested_by,
        required_approvals=required_approvals,
        decision=plan_pb2.Decision(
            effect=plan_pb2.EFFECT_REQUIRE_APPROVAL if required_approvals else plan_pb2.EFFECT_ALLOW,
            required_approvals=required_approvals,
        ),
        approvals=[proposal_pb2.Approval(reviewer=reviewer, args_digest=digest) for reviewer in approved_by],
        lease=plan_pb2.Lease(worker="test", attempt=attempt),
        attempt=attempt,
    )
    bound = bound_actions({action.name: action})[action.name]
    return await execute(LeasedProposal(proposal), bound, ExecutionEnvironment.here(), log_of=None)
