"""Approvals of reviewers who have lost roles since."""

from __future__ import annotations

import pytest

from store_service.domain.proposal import Approval, ApprovalRequirement, Decision, Effect, ProposalState
from store_service.domain.transitions.standing import lost_consent
from tests.support.proposals import NOW, proposal

HELD = {
    "bob": frozenset({"reviewer", "finance"}),
    "fay": frozenset({"reviewer", "finance", "legal"}),
    "clerk": frozenset({"finance"}),
    "left": frozenset[str](),
    "root": frozenset({"admin"}),
}
TWO_ROLES = (ApprovalRequirement("finance", 1), ApprovalRequirement("legal", 1))


def approved_by(*names: str, roles: tuple[str, ...] = (), broke: bool = False) -> tuple[Approval, ...]:
    return tuple(Approval(name, 2, "d1", "", NOW, roles=roles, break_glass=broke) for name in names)


@pytest.mark.parametrize(
    ("approvals", "asks", "said"),
    [
        (approved_by("bob", roles=("finance",)), (1, "finance", ()), ""),
        (approved_by("bob"), (1, "", ()), ""),
        # Credentials do not say: a person with a token of an issuer.
        (approved_by("remote", roles=("finance",)), (1, "finance", ()), ""),
        (approved_by("left", roles=("finance",)), (1, "finance", ()), "left does not have the role reviewer any more"),
        (
            approved_by("clerk", roles=("finance",)),
            (1, "finance", ()),
            "clerk does not have the role reviewer any more",
        ),
        (approved_by("bob", roles=("legal",)), (1, "legal", ()), "bob does not have the role legal any more"),
        (approved_by("left"), (1, "", ()), "left does not have the role reviewer any more"),
        # The others are enough.
        (approved_by("left", "bob"), (1, "", ()), ""),
        (approved_by("left", "bob"), (2, "", ()), "left does not have the role reviewer any more"),
        # One of two roles is left, and the other one was needed.
        (approved_by("bob", "fay", roles=("finance", "legal")), (2, "", TWO_ROLES), ""),
        (
            approved_by("bob", "remote", roles=("legal",)) + approved_by("clerk", roles=("finance",)),
            (2, "", TWO_ROLES),
            "bob does not have the role legal any more; clerk does not have the role reviewer any more",
        ),
        (approved_by("root", "remote", broke=True), (1, "finance", ()), ""),
        (approved_by("root", "bob", broke=True), (1, "finance", ()), "bob does not have the role admin any more"),
        # Policy allowed it.
        ((), (0, "", ()), ""),
    ],
)
def test_what_is_left_must_suffice(approvals: tuple[Approval, ...], asks: tuple, said: str) -> None:  # type: ignore[type-arg]
    count, role, requirements = asks
    decision = Decision(Effect.REQUIRE_APPROVAL, approval_requirements=requirements)
    approved = proposal(
        ProposalState.APPROVED, approvals=approvals, required_approvals=count, reviewer_role=role, decision=decision
    )
    assert lost_consent(approved, HELD.get) == said
