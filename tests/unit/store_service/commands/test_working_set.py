"""Commands on a working set, without a database."""

from __future__ import annotations

from collections import deque

import pytest

from store_service.commands import CancelProposal, ClaimProposals, CompleteProposal
from store_service.commands.working_set import PlanQueue, ReadyQuery, Transaction, WorkingSet
from store_service.domain.proposal import Proposal, ProposalState
from store_service.domain.rules import Rules
from tests.support.proposals import ALICE, BOB, NOW, WORKER, proposal


def _working_set(*proposals: Proposal) -> WorkingSet:
    working_set = WorkingSet(NOW, Rules(), lambda: "new")
    for each in proposals:
        working_set.proposals[each.id] = each
        working_set.dependents.setdefault(each.id, set())
        for needed in each.depends_on:
            working_set.dependents.setdefault(needed, set()).add(each.id)
    return working_set


def _chain(length: int, first: Proposal) -> list[Proposal]:
    rest = [
        proposal(ProposalState.PENDING, id=f"c{number}", depends_on=(f"c{number - 1}",), waiting_for=1)
        for number in range(1, length)
    ]
    return [first.evolve(id="c0"), *rest]


def test_a_chain_longer_than_the_stack_falls() -> None:
    working_set = _working_set(*_chain(3000, proposal(ProposalState.PENDING)))
    transaction = Transaction(working_set, BOB)
    CancelProposal(actor=BOB, proposal_id="c0").apply(transaction)
    assert len(transaction.changes) == 3000
    assert [change.answers for change in transaction.changes].count(True) == 1
    assert all(change.entity.version == 4 for change in transaction.changes)


def test_completing_frees_only_the_next() -> None:
    working_set = _working_set(*_chain(3, proposal(ProposalState.EXECUTING)))
    transaction = Transaction(working_set, WORKER)
    CompleteProposal(actor=WORKER, proposal_id="c0", attempt=1).apply(transaction)
    assert len(transaction.changes) == 1
    working_set.merge(transaction)
    assert [working_set.find_proposal(f"c{number}").waiting_for for number in (1, 2)] == [0, 1]  # type: ignore[union-attr]


def test_what_a_transaction_did_counts_only_after_the_merge() -> None:
    working_set = _working_set(proposal(ProposalState.PENDING))
    dropped = Transaction(working_set, BOB)
    CancelProposal(actor=BOB, proposal_id="p1").apply(dropped)
    kept = Transaction(working_set, BOB)
    assert kept.proposal("p1").state is ProposalState.PENDING
    working_set.merge(dropped)
    assert kept.proposal("p1").state is ProposalState.CANCELLED


def test_claims_of_one_batch_share_the_candidates() -> None:
    ready = [proposal(ProposalState.APPROVED, id=f"p{number}") for number in range(4)]
    working_set = _working_set(*ready)
    working_set.ready[ReadyQuery()] = deque(each.id for each in ready)
    taken: list[list[str]] = []
    for count in (3, 3):
        transaction = Transaction(working_set, WORKER)
        ClaimProposals(actor=WORKER, max_proposals=count).apply(transaction)
        working_set.merge(transaction)
        taken.append([change.entity.id for change in transaction.changes])
    assert taken == [["p0", "p1", "p2"], ["p3"]]


@pytest.mark.parametrize(
    ("in_work", "order"),
    [
        ({}, ["urgent", "a1", "b1", "a2", "a3"]),
        ({"alice": 1}, ["urgent", "b1", "a1", "a2", "a3"]),
    ],
)
def test_the_queue_is_fair(in_work: dict[str, int], order: list[str]) -> None:
    queue = PlanQueue()
    for plan_id in ("a1", "a2", "a3"):
        queue.add(0, "alice", plan_id)
    queue.add(0, "bob", "b1")
    queue.add(5, "carol", "urgent")
    counts = dict(in_work)
    taken: list[str] = []
    while (plan_id := queue.take(counts)) is not None:
        taken.append(plan_id)
        requester = {"a": "alice", "b": "bob", "u": "carol"}[plan_id[0]]
        counts[requester] = counts.get(requester, 0) + 1
    assert taken == order


def test_the_version_is_compared_before_the_state() -> None:
    # One who read an older version must read again; what is allowed now would only confuse.
    working_set = _working_set(proposal(ProposalState.REJECTED))
    with pytest.raises(Exception, match="version 2 was expected"):
        CancelProposal(actor=ALICE, proposal_id="p1", expected_version=2).apply(Transaction(working_set, ALICE))
