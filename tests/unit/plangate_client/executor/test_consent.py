"""The executor counts approvals of exactly these arguments itself."""

from __future__ import annotations

import hashlib

import pytest
import rfc8785
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.executor.consent import consent_fault, log_fault

ARGS = {"path": "a", "count": 3}
DIGEST = hashlib.sha256(rfc8785.dumps(ARGS)).hexdigest()


ALLOW = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW)
TWO_OF_FINANCE = plan_pb2.Decision(
    effect=plan_pb2.EFFECT_REQUIRE_APPROVAL, required_approvals=2, reviewer_role="finance"
)
FINANCE_AND_LEGAL = plan_pb2.Decision(
    effect=plan_pb2.EFFECT_REQUIRE_APPROVAL,
    approval_requirements=[{"role": "finance", "count": 1}, {"role": "legal", "count": 1}],
)


def approval(reviewer: str, *roles: str, digest: str = DIGEST, break_glass: bool = False) -> proposal_pb2.Approval:
    return proposal_pb2.Approval(reviewer=reviewer, args_digest=digest, roles=roles, break_glass=break_glass)


def proposal(
    *approvals: str | proposal_pb2.Approval,
    required: int,
    digest: str = DIGEST,
    decision: plan_pb2.Decision | None = None,
    revised_by: str = "",
) -> proposal_pb2.Proposal:
    return proposal_pb2.Proposal(
        args_digest=digest,
        required_approvals=required,
        created_by="alice",
        revised_by=revised_by,
        decision=decision,
        approvals=[approval(each) if isinstance(each, str) else each for each in approvals],
    )


@pytest.mark.parametrize(
    "enough",
    [
        proposal(required=0, decision=ALLOW),
        proposal("bob", required=1),
        proposal("bob", "carol", required=2),
        proposal(approval("bob", "finance"), approval("carol", "finance"), required=2, decision=TWO_OF_FINANCE),
        proposal(
            approval("bob", "finance", "legal"), approval("carol", "finance"), required=2, decision=FINANCE_AND_LEGAL
        ),
        proposal(
            approval("root", break_glass=True), approval("dora", break_glass=True), required=2, decision=TWO_OF_FINANCE
        ),
    ],
)
def test_enough(enough: proposal_pb2.Proposal) -> None:
    assert consent_fault(enough, dict(ARGS)) == ""


@pytest.mark.parametrize(
    "missing",
    [
        proposal(required=1),
        # Nobody says that policy allowed it.
        proposal(required=0),
        proposal("bob", "bob", required=2),
        proposal("bob", "B0B", required=2),
        proposal("alice", required=1),
        proposal("Alice", required=1),
        proposal("carol", required=1, revised_by="carol"),
        proposal(approval("bob", digest="0" * 64), required=1),
        proposal("bob", required=1, digest="0" * 64),
        # The column says less than the decision.
        proposal(required=0, decision=TWO_OF_FINANCE),
        proposal("bob", required=1, decision=TWO_OF_FINANCE),
        proposal(approval("bob", "finance"), approval("fay", "finance"), required=2, decision=FINANCE_AND_LEGAL),
        proposal(approval("root", break_glass=True), "bob", required=2, decision=TWO_OF_FINANCE),
    ],
)
def test_not_enough(missing: proposal_pb2.Proposal) -> None:
    assert consent_fault(missing, dict(ARGS)) != ""


def history() -> list[event_pb2.Event]:
    """Created, approved by bob and by carol."""
    versions = [
        ("proposal.created", "alice", proposal(required=2)),
        ("proposal.approval_given", "bob", proposal("bob", required=2)),
        ("proposal.approved", "carol", proposal("bob", "carol", required=2)),
    ]
    events = []
    for version, (kind, actor, snapshot) in enumerate(versions, 1):
        snapshot.version = version
        events.append(event_pb2.Event(version=version, kind=kind, actor=actor, snapshot=snapshot.SerializeToString()))
    return events


def test_the_log_says_the_same() -> None:
    events = history()
    assert log_fault(proposal_pb2.Proposal.FromString(events[-1].snapshot), events) == ""


def test_the_log_says_something_else() -> None:
    events = history()
    claimed = proposal_pb2.Proposal.FromString(events[-1].snapshot)
    assert log_fault(claimed, events[:2]) == "the log does not hold every version of it"
    assert log_fault(claimed, events[1:]) == "the log does not hold every version of it"
    claimed.description = "other words"
    assert log_fault(claimed, events) == "the log says something else of this version"
    events[1].actor = "mallory"
    claimed = proposal_pb2.Proposal.FromString(events[-1].snapshot)
    assert log_fault(claimed, events) == "the log does not hold its approvals"
    events = history()
    first = proposal_pb2.Proposal.FromString(events[0].snapshot)
    first.required_approvals = 3
    events[0].snapshot = first.SerializeToString()
    assert log_fault(claimed, events) == "the log does not hold what its review asks for"
    events[0].snapshot = b"\xff"
    assert log_fault(claimed, events) == "the log cannot be read"
