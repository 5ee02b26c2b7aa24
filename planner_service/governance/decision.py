"""What policy can decide about one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, OnRefusal, StepOrder
from plangate_core.contract.limits import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one job, by which rule, and why.

    requirements: the approvals that are needed, each role once; empty unless the effect is REQUIRE_APPROVAL.
    approval_ttl: None leaves the expiry to the store.
    governance_digest: of the catalogue and policy that decided.
    time_dependent: whether a condition that looks at the time took part.
    order, on_refusal: how the job is tied to others, where a rule says so.
    """

    effect: Effect
    rule: str
    reason: str
    requirements: tuple[ApprovalRequirement, ...] = ()
    approval_ttl: timedelta | None = None
    governance_digest: str = ""
    time_dependent: bool = False
    order: StepOrder | None = None
    on_refusal: OnRefusal | None = None

    @property
    def required_approvals(self) -> int:
        """By how many distinct reviewers."""
        return sum(requirement.count for requirement in self.requirements)

    @property
    def reviewer_role(self) -> str:
        """The role that each of them must have; empty for any reviewer, and where several roles are needed."""
        return self.requirements[0].role if len(self.requirements) == 1 else ""

    def left_to_a_person(self, rule: str, reason: str) -> Decision:
        """The decision with at least one approval and one more reason. `rule` joins the one that allowed the job."""
        if self.effect is Effect.DENY:
            return self
        if self.effect is Effect.REQUIRE_APPROVAL:
            return replace(self, reason=f"{self.reason}; {reason}"[:MAX_DESCRIPTION_CHARACTERS])
        return replace(
            self,
            effect=Effect.REQUIRE_APPROVAL,
            rule=joined_names([self.rule, rule]),
            reason=reason[:MAX_DESCRIPTION_CHARACTERS],
            requirements=(ApprovalRequirement("", 1),),
        )


def joined_names(names: Sequence[str]) -> str:
    """The names of rules as one text, no longer than the contract takes."""
    whole = " + ".join(names)
    if len(whole) <= MAX_NAME_CHARACTERS:
        return whole
    return f"{names[0][: MAX_NAME_CHARACTERS - 20]}… + {len(names) - 1} more"
