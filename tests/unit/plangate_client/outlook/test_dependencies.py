"""What a proposal waits for and what falls with it."""

from __future__ import annotations

from typing import Any

import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.dependencies import after_approval, falls_with, next_step, waits_for
from plangate_client.outlook.waiting import Reviewer


def step(name: str, state: str = "PENDING", after: tuple[str, ...] = (), **fields: Any) -> proposal_pb2.Proposal:
    number = proposal_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state}")
    given = {"required_approvals": 1, **fields}
    return proposal_pb2.Proposal(id=name, job_id=name, action_name="act", state=number, depends_on=after, **given)


def test_what_depends_on_it_falls_with_it_also_through_others() -> None:
    a, b, c = step("a"), step("b", after=("a",)), step("c", "APPROVED", after=("b",))
    d, e = step("d"), step("e", "EXECUTED", after=("a",))
    siblings = [c, b, a, d, e]
    assert [sibling.id for sibling in falls_with(a, siblings)] == ["c", "b"]
    assert falls_with(d, siblings) == []


def test_what_only_keeps_the_order_does_not_fall() -> None:
    a, b, c = step("a"), step("b", after=("a",), on_refusal=plan_pb2.ON_REFUSAL_ASK), step("c", after=("b",))
    assert falls_with(a, [a, b, c]) == []


def test_what_is_done_is_not_waited_for() -> None:
    done, open_, last = step("a", "EXECUTED"), step("b"), step("c", "APPROVED", after=("a", "b"))
    assert [sibling.id for sibling in waits_for(last, [done, open_, last])] == ["b"]


@pytest.mark.parametrize(
    ("proposal", "sentence"),
    [
        (step("a", required_approvals=2, reviewer_role="finance"), "Waits for 2 approvals by finance."),
        (
            step("a", approvals_missing=[{"role": "finance", "count": 1}, {"role": "legal", "count": 2}]),
            "Waits for 1 approval by finance and 2 approvals by legal.",
        ),
        (
            step("a", "UNRESOLVED", lease={"worker": "runner"}),
            "Whether runner did it is unknown: a person must find out.",
        ),
        (step("a", "APPROVED"), "Ready: waits for an executor."),
        (step("a", "APPROVED", after=("b",)), "Waits until b (act) is done."),
        (step("a", "EXECUTING", lease={"worker": "runner"}), "Being carried out by runner."),
        (
            step("a", "EXECUTING", lease={"worker": "runner"}, cancel_requested=True),
            "Being carried out by runner. It was asked to stop.",
        ),
        (step("a", "EXECUTED"), "Done."),
        (step("a", "REJECTED", failure={"reason": "REJECTED", "message": "too much"}), "too much"),
        (step("a", "CANCELLED"), "It ended without a result."),
        (step("a", "DRAFT"), "A draft: not submitted for review."),
    ],
)
def test_the_next_step_is_one_sentence(proposal: proposal_pb2.Proposal, sentence: str) -> None:
    assert next_step(proposal, [step("b")]) == sentence


@pytest.mark.parametrize(
    ("proposal", "beginning"),
    [
        (step("a"), "act is carried out with exactly these arguments as soon as an executor is free"),
        (step("a", after=("b",)), "act is carried out with exactly these arguments as soon as b (act) is done"),
        (
            step("a", required_approvals=2, reviewer_role="finance"),
            "Nothing is carried out yet: 1 more approval by finance",
        ),
        (
            step("a", approvals_missing=[{"role": "legal", "count": 1}, {"role": "finance", "count": 1}]),
            "Nothing is carried out yet: 1 more approval by legal",
        ),
        (
            step("a", required_approvals=2, approvals=[{"reviewer": "bob"}]),
            "act is carried out with exactly these arguments as soon as an executor",
        ),
    ],
)
def test_what_an_approval_leads_to(proposal: proposal_pb2.Proposal, beginning: str) -> None:
    reviewer = Reviewer("lea", frozenset({"finance"}))
    assert after_approval(proposal, [step("b")], reviewer).startswith(beginning)
