"""What a proposal waits for, what falls with it, and what becomes of it next."""

from __future__ import annotations

from collections.abc import Sequence

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.waiting import Reviewer, approvals_missing, approvals_text

FINAL_STATES = frozenset(
    {
        proposal_pb2.PROPOSAL_STATE_EXECUTED,
        proposal_pb2.PROPOSAL_STATE_FAILED,
        proposal_pb2.PROPOSAL_STATE_REJECTED,
        proposal_pb2.PROPOSAL_STATE_CANCELLED,
        proposal_pb2.PROPOSAL_STATE_EXPIRED,
    }
)
"""A proposal never leaves these."""

_CANCELLABLE = frozenset(
    {
        proposal_pb2.PROPOSAL_STATE_DRAFT,
        proposal_pb2.PROPOSAL_STATE_PENDING,
        proposal_pb2.PROPOSAL_STATE_APPROVED,
    }
)

_CANCELLED_WITH_IT = frozenset({plan_pb2.ON_REFUSAL_UNSPECIFIED, plan_pb2.ON_REFUSAL_CANCEL})


def waits_for(
    proposal: proposal_pb2.Proposal, siblings: Sequence[proposal_pb2.Proposal]
) -> list[proposal_pb2.Proposal]:
    """Those of its plan's proposals that must be EXECUTED before it, and are not yet."""
    wanted = frozenset(proposal.depends_on)
    return [
        sibling
        for sibling in siblings
        if sibling.id in wanted and sibling.state != proposal_pb2.PROPOSAL_STATE_EXECUTED
    ]


def falls_with(
    proposal: proposal_pb2.Proposal, siblings: Sequence[proposal_pb2.Proposal]
) -> list[proposal_pb2.Proposal]:
    """Those that are cancelled when this one ends without being executed: what depends on it, also through others.

    Steps that only keep the order of the request (on_refusal ASK or CONTINUE) are not among them.
    """
    fallen = {proposal.id}
    found: list[proposal_pb2.Proposal] = []
    remaining = [
        sibling
        for sibling in siblings
        if sibling.id != proposal.id and sibling.state in _CANCELLABLE and sibling.on_refusal in _CANCELLED_WITH_IT
    ]
    while more := [sibling for sibling in remaining if not fallen.isdisjoint(sibling.depends_on)]:
        found += more
        fallen |= {sibling.id for sibling in more}
        remaining = [sibling for sibling in remaining if sibling.id not in fallen]
    order = {sibling.id: number for number, sibling in enumerate(siblings)}
    return sorted(found, key=lambda sibling: order[sibling.id])


def next_step(proposal: proposal_pb2.Proposal, siblings: Sequence[proposal_pb2.Proposal] = ()) -> str:
    """What it waits for now, or why it ended, as one sentence."""
    state = proposal_pb2.ProposalState
    match proposal.state:
        case state.PROPOSAL_STATE_DRAFT:
            return "A draft: not submitted for review."
        case state.PROPOSAL_STATE_PENDING:
            return f"Waits for {approvals_text(approvals_missing(proposal))}."
        case state.PROPOSAL_STATE_APPROVED:
            blockers = waits_for(proposal, siblings)
            if blockers:
                return f"Waits until {listed([step_name(blocker) for blocker in blockers])} is done."
            if proposal.failure.message:
                return f"The last attempt failed: {proposal.failure.message} It will be tried again."
            return "Ready: waits for an executor."
        case state.PROPOSAL_STATE_EXECUTING:
            stopping = " It was asked to stop." if proposal.cancel_requested else ""
            return f"Being carried out by {proposal.lease.worker}.{stopping}"
        case state.PROPOSAL_STATE_UNRESOLVED:
            return f"Whether {proposal.lease.worker} did it is unknown: a person must find out."
        case state.PROPOSAL_STATE_EXECUTED:
            return "Done."
        case _:
            return proposal.failure.message or "It ended without a result."


def after_approval(
    proposal: proposal_pb2.Proposal, siblings: Sequence[proposal_pb2.Proposal], reviewer: Reviewer
) -> str:
    """What this reviewer's approval of a PENDING proposal leads to."""
    done = f"{proposal.action_name} is carried out with exactly these arguments"
    missing = without_one(approvals_missing(proposal), reviewer)
    if missing:
        more = approvals_text(missing, "more approval")
        return f"Nothing is carried out yet: {more} must follow. Then {done} without another question."
    blockers = waits_for(proposal, siblings)
    if not blockers:
        return f"{done} as soon as an executor is free, without another question."
    names = listed([step_name(blocker) for blocker in blockers])
    undecided = [step_name(blocker) for blocker in blockers if blocker.state == proposal_pb2.PROPOSAL_STATE_PENDING]
    step = "That step" if len(blockers) == 1 else listed(undecided) if undecided else ""
    also = f" {step} still {'waits' if len(undecided) == 1 else 'wait'} for approval itself." if undecided else ""
    return f"{done} as soon as {names} is done, without another question.{also}"


def without_one(
    missing: Sequence[plan_pb2.ApprovalRequirement], reviewer: Reviewer
) -> list[plan_pb2.ApprovalRequirement]:
    """What is still missing once this reviewer has approved: one less of the first role that they can stand for."""
    left: list[plan_pb2.ApprovalRequirement] = []
    used = False
    for entry in missing:
        counts = not used and (not entry.role or entry.role in reviewer.roles)
        used = used or counts
        if entry.count > counts:
            left.append(plan_pb2.ApprovalRequirement(role=entry.role, count=entry.count - counts))
    return left


def step_name(proposal: proposal_pb2.Proposal | plan_pb2.Consequence) -> str:
    """How a proposal is called among its siblings: its job and action."""
    return f"{proposal.job_id} ({proposal.action_name})" if proposal.job_id else proposal.action_name


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
