"""Rules that decide, for one job, whether it may run, needs people's approval, or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import Any, TypeVar

from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, OnRefusal, StepOrder
from plangate_core.contract.limits import (
    MAX_APPROVAL_REQUIREMENTS,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_REQUIRED_APPROVALS,
)
from planner_service.governance.condition import ConditionCompiler, ConditionFailed
from planner_service.governance.decision import Decision, joined_names
from planner_service.governance.policy_rule import Rule, Subject

DEFAULT_RULE = "default"
_ORDERS = (StepOrder.SEQUENTIAL, StepOrder.INDEPENDENT)
_ON_REFUSAL = (OnRefusal.CANCEL, OnRefusal.ASK, OnRefusal.CONTINUE)

T = TypeVar("T")


class Policy:
    """All rules. Immutable. What no rule decides is denied.

    first_match: the first rule that matches decides alone; else the most severe of all that match.
    allows_incomplete: whether plans that may lack a part of their request may run by policy alone.
    warnings: what is odd in the policy without making it unusable, each with its place.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        digest: str,
        compiler: ConditionCompiler,
        *,
        first_match: bool = False,
        allows_incomplete: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.rules = rules
        self._first_match = first_match
        self.digest = digest
        self.allows_incomplete = allows_incomplete
        self.warnings = warnings
        self._compiler = compiler

    def decide(self, subject: Subject) -> Decision:
        """The decision of the rules, and of the catalogue's own policy for the action, about a job."""
        try:
            values = self._compiler.values(_variables(subject))
        except ConditionFailed as error:
            return Decision(Effect.DENY, DEFAULT_RULE, f"the policy cannot look at this job: {error}")
        matching: list[Decision] = []
        time_dependent = False
        for rule in self.rules:
            try:
                if not rule.matches(subject, values):
                    continue
                time_dependent = time_dependent or rule.time_dependent
                if not rule.holds(values):
                    continue
                decision = rule.decision
            except ConditionFailed as error:
                decision = Decision(Effect.DENY, rule.name, f"the rule's condition cannot be evaluated: {error}")
            matching.append(decision)
            if self._first_match:
                break
        if subject.action.policy is not None and not (matching and self._first_match):
            policy = subject.action.policy
            rule_name = joined_names([f"catalogue:{subject.action.name}"])
            reason = policy.reason or default_reason(policy.effect)
            matching.append(Decision(policy.effect, rule_name, reason, policy.requirements, policy.expires_in))
        decision = most_severe(matching)
        return replace(decision, time_dependent=True) if time_dependent else decision


def most_severe(decisions: list[Decision]) -> Decision:
    """One decision of all that apply, in the order of their rules.

    A denial wins. Else every demand for approval is met at once: of each role the highest number, reviewers of any role
    as far as those do not suffice, within the shortest time. Of order and on_refusal the strictest counts.
    """
    if not decisions:
        return Decision(Effect.DENY, DEFAULT_RULE, "no rule allows it")
    return replace(
        _combined(decisions),
        governance_digest=decisions[0].governance_digest,
        time_dependent=any(decision.time_dependent for decision in decisions),
        order=_first(_ORDERS, {decision.order for decision in decisions}),
        on_refusal=_first(_ON_REFUSAL, {decision.on_refusal for decision in decisions}),
    )


def _combined(decisions: list[Decision]) -> Decision:
    for decision in decisions:
        if decision.effect is Effect.DENY:
            return decision
    demands = [decision for decision in decisions if decision.effect is Effect.REQUIRE_APPROVAL]
    if not demands:
        if all(decision.effect is Effect.ALLOW for decision in decisions):
            return decisions[0]
        raise AssertionError("an effect that nothing says how to combine")
    names = joined_names(list(dict.fromkeys(demand.rule for demand in demands)))
    requirements = _together(requirement for demand in demands for requirement in demand.requirements)
    approvals = sum(requirement.count for requirement in requirements)
    if len(requirements) > MAX_APPROVAL_REQUIREMENTS or approvals > MAX_REQUIRED_APPROVALS:
        limits = f"{MAX_APPROVAL_REQUIREMENTS} roles and {MAX_REQUIRED_APPROVALS} approvals"
        return Decision(Effect.DENY, names, f"the rules together ask for more than {limits}")
    return Decision(
        Effect.REQUIRE_APPROVAL,
        names,
        "; ".join(dict.fromkeys(demand.reason for demand in demands))[:MAX_DESCRIPTION_CHARACTERS],
        requirements,
        min((demand.approval_ttl for demand in demands if demand.approval_ttl), default=None),
    )


def _first(strictest_first: Sequence[T], given: Set[T | None]) -> T | None:
    return next((each for each in strictest_first if each in given), None)


def _together(requirements: Iterable[ApprovalRequirement]) -> tuple[ApprovalRequirement, ...]:
    """What fulfils all of these; each reviewer counts once. Sorted by role, any reviewer last."""
    counts: dict[str, int] = {}
    for requirement in requirements:
        counts[requirement.role] = max(counts.get(requirement.role, 0), requirement.count)
    of_any_role = counts.pop("", 0) - sum(counts.values())
    named = [ApprovalRequirement(role, counts[role]) for role in sorted(counts)]
    return (*named, ApprovalRequirement("", of_any_role)) if of_any_role > 0 else tuple(named)


def default_reason(effect: Effect) -> str:
    """The reason of a rule that gives none."""
    return {
        Effect.ALLOW: "allowed by the rule",
        Effect.REQUIRE_APPROVAL: "the rule asks for approval",
        Effect.DENY: "denied by the rule",
    }[effect]


def _variables(subject: Subject) -> dict[str, Any]:
    risk = subject.action.assumed_risk
    return {
        "action": {"name": subject.action.name, "risk": risk.value},
        "args": dict(subject.args),
        "labels": dict(subject.labels),
        "assumed": list(subject.assumed),
        "requester": subject.requester,
        "now": subject.now,
    }
