"""Who may approve what, and what an edit does to approvals."""

from __future__ import annotations

import pytest

from store_service.domain import review
from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.errors import (
    AlreadyApproved,
    ArgsDigestMismatch,
    InvalidField,
    ModelApproval,
    NotApprovedByCaller,
    ReviewerRoleMissing,
    SelfApproval,
    VersionConflict,
)
from store_service.domain.events import EventKind
from store_service.domain.proposal import UPDATABLE_FIELDS, Approval, Proposal, ProposalDraft, ProposalState
from store_service.domain.rules import Rules
from tests.support.proposals import ALICE, BOB, CAROL, NOW, proposal

RULES = Rules()
PENDING = proposal(ProposalState.PENDING, required_approvals=2)


def _approve(before: Proposal, actor: Actor, digest: str = "") -> tuple[Proposal, EventKind]:
    return review.approve(before, actor, NOW, RULES, expected_args_digest=digest, comment="fine")


def test_approved_when_enough_distinct_reviewers_agreed() -> None:
    once, kind = _approve(PENDING, BOB, "d1")
    assert (once.state, kind) == (ProposalState.PENDING, EventKind.PROPOSAL_APPROVAL_GIVEN)
    assert once.approvals == (Approval("bob", 3, "d1", "fine", NOW),)
    twice, kind = _approve(once, CAROL)
    assert (twice.state, kind, twice.review_time) == (ProposalState.APPROVED, EventKind.PROPOSAL_APPROVED, NOW)
    assert [approval.version for approval in twice.approvals] == [3, 4]


@pytest.mark.parametrize(
    ("before", "actor", "digest", "refusal"),
    [
        (PENDING, Actor("alice", frozenset({"reviewer"})), "", SelfApproval),
        (PENDING, Actor("planner"), "", ModelApproval),
        (PENDING, Actor("planner-2", frozenset({"planner", "reviewer"})), "", ModelApproval),
        (PENDING, Actor("bob", frozenset({"reviewer"}), via="planner"), "", ModelApproval),
        (PENDING, BOB, "d2", ArgsDigestMismatch),
        (PENDING.evolve(reviewer_role="sre"), BOB, "", ReviewerRoleMissing),
        (PENDING.evolve(reviewer_role="sre"), Actor("root", frozenset({"admin"})), "", ReviewerRoleMissing),
        (_approve(PENDING, BOB)[0], BOB, "", AlreadyApproved),
    ],
)
def test_who_cannot_approve(before: Proposal, actor: Actor, digest: str, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        _approve(before, actor, digest)


def test_rejecting_needs_the_reviewers_role_too() -> None:
    with pytest.raises(ReviewerRoleMissing):
        review.reject(PENDING.evolve(reviewer_role="sre"), BOB, NOW, reason="no")
    sre = Actor("bob", frozenset({"sre"}))
    rejected, _ = review.reject(PENDING.evolve(reviewer_role="sre"), sre, NOW, reason="no")
    assert rejected.failure is not None
    assert rejected.failure.message == "no"


def test_only_ones_own_approval_can_be_withdrawn() -> None:
    approved, _ = _approve(PENDING, BOB)
    with pytest.raises(NotApprovedByCaller):
        review.withdraw_approval(approved, CAROL, NOW)
    withdrawn, _ = review.withdraw_approval(approved, BOB, NOW)
    assert withdrawn.approvals == ()
    assert _approve(withdrawn, BOB)[0].approvals


def test_an_edit_voids_approvals_and_keeps_one_required() -> None:
    approved, _ = _approve(PENDING, BOB)
    draft = ProposalDraft(action_name="ignored", args_json='{"a":1}', required_approvals=0, max_attempts=0)
    edited, kind = review.update(approved, draft, UPDATABLE_FIELDS, ALICE, NOW)
    assert kind is EventKind.PROPOSAL_UPDATED
    assert (edited.approvals, edited.required_approvals, edited.max_attempts) == ((), 1, 1)
    assert (edited.args_json, edited.args_digest) == ('{"a":1}', args_digest('{"a":1}'))
    assert edited.action_name == "delete_file"


def test_an_edit_changes_only_the_named_fields() -> None:
    draft = ProposalDraft(action_name="x", args_json='{"a":1}', description="new", priority=7, labels={"team": "ops"})
    edited, _ = review.update(PENDING, draft, frozenset({"description", "labels"}), ALICE, NOW)
    expected = PENDING.changed(ALICE, NOW, description="new", labels={"team": "ops"}, revised_by="alice")
    assert edited == expected


def test_nobody_approves_their_own_words() -> None:
    draft = ProposalDraft(action_name="x", description="mine")
    edited, _ = review.update(PENDING, draft, frozenset({"description"}), BOB, NOW)
    with pytest.raises(SelfApproval):
        _approve(edited, BOB)
    with pytest.raises(SelfApproval):
        _approve(edited, Actor("alice", frozenset({"reviewer"})))
    assert _approve(edited, CAROL)[0].approvals


def test_nobody_approves_their_own_words_because_somebody_else_added_some() -> None:
    draft = ProposalDraft(action_name="x", description="mine", priority=1)
    edited, _ = review.update(PENDING, draft, frozenset({"description"}), BOB, NOW)
    edited, _ = review.update(edited, draft, frozenset({"priority"}), CAROL, NOW)
    assert (edited.revised_by, edited.earlier_revisers) == ("carol", ("bob",))
    for who in (BOB, CAROL):
        with pytest.raises(SelfApproval):
            _approve(edited, who)
    edited, _ = review.update(edited, draft, frozenset({"priority"}), BOB, NOW)
    assert (edited.revised_by, edited.earlier_revisers) == ("bob", ("carol",))
    with pytest.raises(SelfApproval):
        _approve(edited, CAROL)


def test_expire_time_comes_from_the_draft_the_decision_or_the_rules() -> None:
    def made(draft: ProposalDraft, rules: Rules = RULES) -> int | None:
        new, _ = review.create("p", draft, ALICE, NOW, rules, submit=True, waiting_for=0)
        return new.expire_time

    assert made(ProposalDraft(action_name="a")) is None
    assert made(ProposalDraft(action_name="a"), Rules(approval_ttl=7)) == NOW + 7
    assert made(ProposalDraft(action_name="a", expire_time=NOW + 1), Rules(approval_ttl=7)) == NOW + 1
    with pytest.raises(InvalidField):
        made(ProposalDraft(action_name="a", expire_time=NOW))


def test_versions_are_compared_when_given() -> None:
    PENDING.expect(0)
    PENDING.expect(3)
    with pytest.raises(VersionConflict) as conflict:
        PENDING.expect(2)
    assert (conflict.value.expected_version, conflict.value.current_version) == (2, 3)
