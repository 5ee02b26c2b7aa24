"""Which proposals wait for one person, compared with what the store's own domain answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.waiting import Reviewer, may_reject, why_not_mine

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LEA = Reviewer("lea", frozenset({"reviewer", "finance"}))


def pending(**fields: Any) -> proposal_pb2.Proposal:
    given = {"state": proposal_pb2.PROPOSAL_STATE_PENDING, "created_by": "ria", "required_approvals": 1, **fields}
    return proposal_pb2.Proposal(**given)


@pytest.mark.parametrize(
    ("proposal", "reviewer", "reason"),
    [
        (pending(), LEA, ""),
        (pending(reviewer_role="finance"), LEA, ""),
        (pending(reviewer_role="legal"), LEA, "You do not have the role legal."),
        (pending(created_by="lea"), LEA, "You requested it."),
        (pending(revised_by="lea"), LEA, "You edited it."),
        (pending(revised_by="ria", earlier_revisers=["lea"]), LEA, "You edited it."),
        (pending(approvals=[proposal_pb2.Approval(reviewer="lea")]), LEA, "You approved it already."),
        (pending(approvals=[proposal_pb2.Approval(reviewer="bob")], required_approvals=2), LEA, ""),
        (pending(approval_requirements=[{"role": "legal", "count": 1}, {"role": "finance", "count": 1}]), LEA, ""),
        (
            pending(approval_requirements=[{"role": "legal", "count": 1}, {"role": "board", "count": 1}]),
            LEA,
            "You do not have the role legal or board.",
        ),
        (pending(), Reviewer("lea", frozenset({"finance"})), "You do not have the role reviewer."),
        (pending(state=proposal_pb2.PROPOSAL_STATE_APPROVED), LEA, "It is not waiting for approval."),
    ],
)
def test_why_a_proposal_is_not_mine(proposal: proposal_pb2.Proposal, reviewer: Reviewer, reason: str) -> None:
    assert why_not_mine(proposal, reviewer, NOW) == reason


def test_what_expired_is_nobodys() -> None:
    proposal = pending()
    proposal.expire_time.FromDatetime(NOW + timedelta(seconds=1))
    assert why_not_mine(proposal, LEA, NOW) == ""
    assert may_reject(proposal, LEA, NOW)
    assert why_not_mine(proposal, LEA, NOW + timedelta(seconds=1)) == "It expired."
    assert not may_reject(proposal, LEA, NOW + timedelta(seconds=1))


def test_a_requester_may_reject_with_the_role_only() -> None:
    assert may_reject(pending(created_by="lea"), LEA, NOW)
    assert not may_reject(pending(reviewer_role="legal"), LEA, NOW)
    assert not may_reject(pending(), Reviewer("lea", frozenset()), NOW)
