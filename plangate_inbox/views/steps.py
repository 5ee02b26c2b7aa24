"""The steps of a plan: each job with its proposal, what it waits for, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.dependencies import next_step
from plangate_core.contract.enum_names import enum_name

DENIED = "DENIED"


@dataclass(frozen=True, slots=True)
class Step:
    """One job. `state` is a proposal's state without prefix, or DENIED for a job without a proposal."""

    job_id: str
    action_name: str
    description: str
    proposal_id: str
    state: str
    sentence: str
    """What it waits for, or why it ended or will not run."""
    after: tuple[str, ...]
    """Job ids that come before it."""
    proposal: proposal_pb2.Proposal | None


def steps(plan: plan_pb2.Plan, proposals: Sequence[proposal_pb2.Proposal]) -> list[Step]:
    """All jobs in the plan's order."""
    by_id = {proposal.id: proposal for proposal in proposals}
    return [_step(job, by_id.get(job.proposal_id), proposals) for job in plan.jobs]


def in_order(plan: plan_pb2.Plan, proposals: Sequence[proposal_pb2.Proposal]) -> list[proposal_pb2.Proposal]:
    """The proposals as the plan orders its jobs."""
    place: Mapping[str, int] = {job.proposal_id: number for number, job in enumerate(plan.jobs)}
    return sorted(proposals, key=lambda proposal: place.get(proposal.id, len(place)))


def _step(job: plan_pb2.Job, proposal: proposal_pb2.Proposal | None, siblings: Sequence[proposal_pb2.Proposal]) -> Step:
    if proposal is None:
        denied = job.decision.effect == plan_pb2.EFFECT_DENY
        reason = job.decision.reason or (f"rule {job.decision.rule}" if job.decision.rule else "no rule allows it")
        sentence = f"Denied by policy: {reason}" if denied else job.will_not_run.message or "It has no proposal."
        state = DENIED if denied else "CANCELLED"
    else:
        sentence, state = next_step(proposal, siblings), enum_name(proposal, "state")
    return Step(
        job_id=job.id,
        action_name=job.action_name,
        # Of a job that was revised the proposal says what it is now.
        description=job.description if proposal is None else proposal.description,
        proposal_id=job.proposal_id,
        state=state,
        sentence=sentence,
        after=tuple(job.depends_on),
        proposal=proposal,
    )
