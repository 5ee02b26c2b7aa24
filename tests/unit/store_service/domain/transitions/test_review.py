"""Who may approve what, and what an edit does to approvals."""

from __future__ import annotations

import pytest

from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.errors import (
    AlreadyApproved,
    ArgsDigestMismatch,
    InvalidField,
    ModelApproval,
    NotApprovedByCaller,
    RequirementLowered,
    ReviewerRoleMissing,
    SelfApproval,
    VersionConflict,
)
from store_service.domain.events import EventKind
from store_service.domain.log_audit import ProposalEntry, proposal_fault
from store_service.domain.proposal import (
    UPDATABLE_FIELDS,
    Approval,
    ApprovalRequirement,
    Decision,
    Effect,
    Proposal,
    ProposalDraft,
    ProposalState,
)
from store_service.domain.rules import Rules
from store_service.domain.transitions import review
from store_service.domain.transitions.requirements import approvals_missing
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
    edited, kind = review.update(approved, draft, UPDATABLE_FIELDS, Actor("planner"), NOW, RULES)
    assert kind is EventKind.PROPOSAL_UPDATED
    assert (edited.approvals, edited.required_approvals, edited.max_attempts) == ((), 1, 1)
    assert (edited.args_json, edited.args_digest) == ('{"a":1}', args_digest('{"a":1}'))
    assert edited.action_name == "delete_file"


def test_an_edit_changes_only_the_named_fields() -> None:
    draft = ProposalDraft(action_name="x", args_json='{"a":1}', description="new", priority=7, labels={"team": "ops"})
    edited, _ = review.update(PENDING, draft, frozenset({"description", "labels"}), ALICE, NOW, RULES)
    expected = PENDING.changed(ALICE, NOW, description="new", labels={"team": "ops"}, revised_by="alice")
    assert edited == expected


def test_nobody_approves_their_own_words() -> None:
    draft = ProposalDraft(action_name="x", description="mine")
    edited, _ = review.update(PENDING, draft, frozenset({"description"}), BOB, NOW, RULES)
    with pytest.raises(SelfApproval):
        _approve(edited, BOB)
    with pytest.raises(SelfApproval):
        _approve(edited, Actor("alice", frozenset({"reviewer"})))
    assert _approve(edited, CAROL)[0].approvals


def test_nobody_approves_their_own_words_because_somebody_else_added_some() -> None:
    draft = ProposalDraft(action_name="x", description="mine", priority=1)
    edited, _ = review.update(PENDING, draft, frozenset({"description"}), BOB, NOW, RULES)
    edited, _ = review.update(edited, draft, frozenset({"priority"}), CAROL, NOW, RULES)
    assert (edited.revised_by, edited.earlier_revisers) == ("carol", ("bob",))
    for who in (BOB, CAROL):
        with pytest.raises(SelfApproval):
            _approve(edited, who)
    edited, _ = review.update(edited, draft, frozenset({"priority"}), BOB, NOW, RULES)
    assert (edited.revised_by, edited.earlier_revisers) == ("bob", ("carol",))
    with pytest.raises(SelfApproval):
        _approve(edited, CAROL)


ROOT = Actor("root", frozenset({"admin"}))
DORA = Actor("dora", frozenset({"admin", "reviewer"}))
TWO_OF_FINANCE = proposal(
    ProposalState.PENDING,
    required_approvals=2,
    reviewer_role="finance",
    decision=Decision(Effect.REQUIRE_APPROVAL, "large", "refunds", 2, "finance", decided_by="planner"),
)
FINANCE_AND_LEGAL = proposal(
    ProposalState.PENDING,
    required_approvals=2,
    decision=Decision(
        Effect.REQUIRE_APPROVAL,
        required_approvals=2,
        approval_requirements=(ApprovalRequirement("finance", 1), ApprovalRequirement("legal", 1)),
        decided_by="planner",
    ),
)


@pytest.mark.parametrize(
    ("fields", "draft", "role"),
    [
        ({"required_approvals"}, ProposalDraft(action_name="x", required_approvals=1), "finance"),
        ({"reviewer_role"}, ProposalDraft(action_name="x", reviewer_role=""), "finance"),
        ({"reviewer_role"}, ProposalDraft(action_name="x", reviewer_role="friends"), "finance"),
        (
            {"required_approvals", "reviewer_role"},
            ProposalDraft(action_name="x", required_approvals=9, reviewer_role="friends"),
            "finance",
        ),
    ],
)
def test_only_the_planner_lowers_what_a_review_asks_for(fields: set[str], draft: ProposalDraft, role: str) -> None:
    with pytest.raises(RequirementLowered) as refused:
        review.update(TWO_OF_FINANCE, draft, frozenset(fields), ROOT, NOW, RULES)
    assert refused.value.role == role
    assert review.update(TWO_OF_FINANCE, draft, frozenset(fields), Actor("planner"), NOW, RULES)


def test_another_planner_lowers_what_a_review_asks_for_by_deciding_only() -> None:
    draft = ProposalDraft(action_name="x", required_approvals=1, decision=Decision(Effect.REQUIRE_APPROVAL))
    with pytest.raises(RequirementLowered):
        # The log would show one who is no planner: checks of it know no roles.
        review.update(TWO_OF_FINANCE, draft, frozenset({"required_approvals"}), ALICE, NOW, RULES)
    lowered, kind = review.update(
        TWO_OF_FINANCE, draft, frozenset({"required_approvals", "decision"}), ALICE, NOW, RULES
    )
    before, after = (
        ProposalEntry(kind, ALICE.identity, "", each, b"", args_fit=True) for each in (TWO_OF_FINANCE, lowered)
    )
    assert proposal_fault(before, after, RULES.planner_identity) == ""


def test_an_admin_may_ask_for_more_and_becomes_a_writer() -> None:
    draft = ProposalDraft(action_name="x", required_approvals=3)
    edited, _ = review.update(TWO_OF_FINANCE, draft, frozenset({"required_approvals"}), ROOT, NOW, RULES)
    assert (edited.required_approvals, edited.reviewer_role) == (3, "finance")
    assert edited.decision == TWO_OF_FINANCE.decision
    with pytest.raises(SelfApproval):
        _approve(edited, Actor("root", frozenset({"admin", "finance"})))


def test_what_an_admin_writes_is_not_decided_by_policy() -> None:
    allow = Decision(Effect.ALLOW, "because I say so", "invented")
    draft = ProposalDraft(action_name="x", args_json='{"a":1}', decision=allow, required_approvals=2)
    fields = UPDATABLE_FIELDS - {"reviewer_role"}
    edited, _ = review.update(TWO_OF_FINANCE, draft, fields, ROOT, NOW, RULES)
    assert edited.decision is not None
    assert (edited.decision.effect, edited.decision.rule) == (Effect.REQUIRE_APPROVAL, "")
    assert (edited.decision.decided_by, edited.decision.required_approvals) == ("", 2)
    assert "root" in edited.decision.reason
    made, _ = review.create("p", draft, ROOT, NOW, RULES, submit=True, waiting_for=0)
    assert (made.state, made.required_approvals) == (ProposalState.PENDING, 2)
    assert made.decision is not None
    assert (made.decision.effect, made.decision.rule, made.decision.decided_by) == (Effect.REQUIRE_APPROVAL, "", "")


def test_votes_are_counted_by_role_each_person_once() -> None:
    finance, legal, both = (
        Actor("finn", frozenset({"finance"})),
        Actor("leo", frozenset({"legal"})),
        Actor("bea", frozenset({"finance", "legal"})),
    )
    once, kind = _approve(FINANCE_AND_LEGAL, finance)
    assert (kind, approvals_missing(once)) == (
        EventKind.PROPOSAL_APPROVAL_GIVEN,
        (ApprovalRequirement("legal", 1),),
    )
    with pytest.raises(ReviewerRoleMissing) as refused:
        _approve(once, Actor("fay", frozenset({"finance"})))
    assert refused.value.role == "legal"
    with pytest.raises(ReviewerRoleMissing):
        _approve(FINANCE_AND_LEGAL, BOB)
    assert _approve(once, legal)[0].state is ProposalState.APPROVED
    # Who has both roles fills whichever the other leaves open, in whatever order they come.
    for first, second in ((both, finance), (finance, both), (both, legal), (legal, both)):
        assert _approve(_approve(FINANCE_AND_LEGAL, first)[0], second)[0].state is ProposalState.APPROVED
    assert _approve(FINANCE_AND_LEGAL, both)[0].state is ProposalState.PENDING


@pytest.mark.parametrize("alias", ["Bob", "BOB", "b0b", "bob.", "b o b"])
def test_look_alikes_never_count_as_two_people(alias: str) -> None:
    once, _ = _approve(PENDING, BOB)
    with pytest.raises(AlreadyApproved):
        _approve(once, Actor(alias, frozenset({"reviewer"})))
    mine = PENDING.evolve(created_by="bob")
    with pytest.raises(SelfApproval):
        _approve(mine, Actor(alias, frozenset({"reviewer"})))


def _break(before: Proposal, actor: Actor, digest: str = "") -> tuple[Proposal, EventKind]:
    return review.break_glass(before, actor, NOW, RULES, expected_args_digest=digest, reason="the shop is down")


def test_breaking_the_glass_takes_two_admins_who_did_not_write_it() -> None:
    once, kind = _break(TWO_OF_FINANCE, ROOT)
    assert (once.state, kind) == (ProposalState.PENDING, EventKind.PROPOSAL_BREAK_GLASS_REQUESTED)
    assert approvals_missing(once) == (ApprovalRequirement("finance", 2),), "it is no approval"
    for again in (ROOT, Actor("R00t", frozenset({"admin"}))):
        with pytest.raises(AlreadyApproved):
            _break(once, again)
    twice, kind = _break(once, DORA)
    assert (twice.state, kind) == (ProposalState.APPROVED, EventKind.PROPOSAL_APPROVED_BY_BREAK_GLASS)
    assert [(each.reviewer, each.comment, each.break_glass) for each in twice.approvals] == [
        ("root", "the shop is down", True),
        ("dora", "the shop is down", True),
    ]
    with pytest.raises(SelfApproval):
        _break(TWO_OF_FINANCE, Actor("alice", frozenset({"admin"})))
    with pytest.raises(ModelApproval):
        _break(TWO_OF_FINANCE, Actor("root", frozenset({"admin"}), via="planner"))
    with pytest.raises(ArgsDigestMismatch):
        _break(TWO_OF_FINANCE, ROOT, "other")


def test_one_admin_and_one_reviewer_do_not_break_the_glass() -> None:
    once, _ = _break(TWO_OF_FINANCE, ROOT)
    again, kind = _approve(once, Actor("finn", frozenset({"finance"})))
    assert (again.state, kind) == (ProposalState.PENDING, EventKind.PROPOSAL_APPROVAL_GIVEN)
    done, kind = _approve(again, Actor("fay", frozenset({"finance"})))
    assert (done.state, kind) == (ProposalState.APPROVED, EventKind.PROPOSAL_APPROVED)


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
