"""What policy can decide about one job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, OnRefusal, StepOrder


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one job, by which rule, and why.

    required_approvals: distinct reviewers; at least 1 where the effect is REQUIRE_APPROVAL, else 0.
    reviewer_role: the role that each must have; empty: any reviewer, or see approval_requirements.
    approval_requirements: set when reviewers of several roles are needed; required_approvals is then their sum.
    approval_ttl: None leaves the expiry to the store.
    governance_digest: of the catalogue and policy that decided.
    time_dependent: whether a condition that looks at the time took part.
    order, on_refusal: how the job is tied to others, where a rule says so.
    """

    effect: Effect
    rule: str
    reason: str
    required_approvals: int = 0
    reviewer_role: str = ""
    approval_ttl: timedelta | None = None
    approval_requirements: tuple[ApprovalRequirement, ...] = ()
    governance_digest: str = ""
    time_dependent: bool = False
    order: StepOrder | None = None
    on_refusal: OnRefusal | None = None

    @classmethod
    def of(
        cls,
        effect: Effect,
        rule: str,
        reason: str,
        requirements: tuple[ApprovalRequirement, ...] = (),
        approval_ttl: timedelta | None = None,
    ) -> Decision:
        """A decision that asks for these approvals."""
        return cls(
            effect,
            rule,
            reason,
            required_approvals=sum(requirement.count for requirement in requirements),
            reviewer_role=requirements[0].role if len(requirements) == 1 else "",
            approval_ttl=approval_ttl,
            approval_requirements=requirements if len(requirements) > 1 else (),
        )

    def decided_as(self, other: Decision) -> Decision:
        """This decision with all of another's that concerns neither effect nor approvals."""
        return replace(
            self,
            governance_digest=other.governance_digest,
            time_dependent=other.time_dependent,
            order=other.order,
            on_refusal=other.on_refusal,
        )

    @property
    def requirements(self) -> tuple[ApprovalRequirement, ...]:
        """The approvals that are needed, each role once; empty where none are."""
        if self.approval_requirements or not self.required_approvals:
            return self.approval_requirements
        return (ApprovalRequirement(self.reviewer_role, self.required_approvals),)
