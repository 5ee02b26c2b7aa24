"""The policy: rules that decide, for one job, whether it may run, needs people, or is refused.

docs/policy.md describes the format and how rules combine, for those who write it.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from plangate_core.catalogue.catalogue import ActionPolicyForm, Risk, action_policy, digest_of
from plangate_core.catalogue.document import Document, DocumentInvalid, Form, YamlPath
from plangate_core.catalogue.effect import Effect
from plangate_core.catalogue.yaml_document import parse_document, read_text
from plangate_core.contract.limits import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS
from planner_service.governance.condition import ConditionCompiler, ConditionFailed, ConditionInvalid
from planner_service.governance.decision import Decision
from planner_service.governance.policy_rule import Globs, Rule, Subject

MAX_RULES = 1_000
DEFAULT_RULE = "default"


class PolicyInvalid(DocumentInvalid):
    """The policy cannot be used; says where and why."""


class Resolution(Enum):
    """Which rule decides when several match."""

    MOST_SEVERE = "most_severe"
    FIRST_MATCH = "first_match"


class Policy:
    """All rules. Immutable. What no rule decides is denied."""

    def __init__(
        self, rules: tuple[Rule, ...], resolution: Resolution, digest: str, compiler: ConditionCompiler
    ) -> None:
        self.rules = rules
        self.resolution = resolution
        self.digest = digest
        self._compiler = compiler

    def decide(self, subject: Subject) -> Decision:
        """What the rules, and the catalogue's own word on the action, say of a job."""
        try:
            values = self._compiler.values(_variables(subject))
        except ConditionFailed as error:
            return Decision(Effect.DENY, DEFAULT_RULE, f"the policy cannot look at this job: {error}")
        matching: list[Decision] = []
        for rule in self.rules:
            try:
                if not rule.fits(subject, values):
                    continue
                decision = rule.decision
            except ConditionFailed as error:
                decision = Decision(Effect.DENY, rule.name, f"the rule's condition cannot be evaluated: {error}")
            if self.resolution is Resolution.FIRST_MATCH:
                return decision
            matching.append(decision)
        if subject.action.policy is not None:
            policy = subject.action.policy
            matching.append(
                Decision(
                    effect=policy.effect,
                    rule=_fitting([f"catalogue:{subject.action.name}"]),
                    reason=policy.reason or _default_reason(policy.effect),
                    required_approvals=policy.approvals,
                    reviewer_role=policy.role,
                    approval_ttl=policy.expires_in,
                )
            )
        return most_severe(matching)


def most_severe(decisions: list[Decision]) -> Decision:
    """One decision of all that apply, in the order of their rules.

    A denial wins. Else every demand for approval is met at once: the highest count, the shortest time, and the one
    role that is named; two different roles cannot both be asked of one proposal, so that is a denial.
    """
    if not decisions:
        return Decision(Effect.DENY, DEFAULT_RULE, "no rule allows it")
    for decision in decisions:
        if decision.effect is Effect.DENY:
            return decision
    demands = [decision for decision in decisions if decision.effect is Effect.REQUIRE_APPROVAL]
    if not demands:
        return decisions[0]
    roles = sorted({demand.reviewer_role for demand in demands if demand.reviewer_role})
    names = _fitting(list(dict.fromkeys(demand.rule for demand in demands)))
    if len(roles) > 1:
        return Decision(Effect.DENY, names, f"the rules ask for reviewers of different roles: {', '.join(roles)}")
    return Decision(
        effect=Effect.REQUIRE_APPROVAL,
        rule=names,
        reason="; ".join(dict.fromkeys(demand.reason for demand in demands))[:MAX_DESCRIPTION_CHARACTERS],
        required_approvals=max(demand.required_approvals for demand in demands),
        reviewer_role=roles[0] if roles else "",
        approval_ttl=min((demand.approval_ttl for demand in demands if demand.approval_ttl), default=None),
    )


def _fitting(names: list[str]) -> str:
    """The names as one, no longer than the contract takes."""
    whole = " + ".join(names)
    if len(whole) <= MAX_NAME_CHARACTERS:
        return whole
    return f"{names[0][: MAX_NAME_CHARACTERS - 20]}… + {len(names) - 1} more"


def load_policy(path: Path | str) -> Policy:
    """Read a policy file. Raises PolicyInvalid, which names the file, the line and the fault."""
    try:
        return parse_policy(read_text(Path(path), "policy"))
    except DocumentInvalid as error:
        raise PolicyInvalid.of(error, str(path)) from error


def parse_policy(text: str) -> Policy:
    """Read the text of a policy file. Raises PolicyInvalid, which names the line and the fault."""
    try:
        return _build(parse_document(text))
    except DocumentInvalid as error:
        raise PolicyInvalid.of(error) from error


def catalogue_policy() -> Policy:
    """The policy of a planner without a policy file: the catalogue's own words count, the rest is denied."""
    return Policy((), Resolution.MOST_SEVERE, digest_of({"version": 1, "rules": []}), ConditionCompiler())


def _listed(value: Any) -> Any:
    """A single text where a list may stand."""
    return [value] if isinstance(value, str) else value


_Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Globs = Annotated[list[_Glob], Field(min_length=1, max_length=256), BeforeValidator(_listed)]


class _MatchForm(Form):
    action: _Globs | None = None
    risk: Annotated[list[Literal["low", "medium", "high"]], Field(min_length=1), BeforeValidator(_listed)] | None = None
    requester: _Globs | None = None
    labels: dict[str, _Globs] | None = None
    args: dict[str, _Globs | bool | int | float | None] | None = None


class _RuleForm(ActionPolicyForm):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
    description: str | None = None
    match: _MatchForm | None = None
    when: Annotated[str, StringConstraints(min_length=1)] | None = None


class _PolicyForm(Form):
    version: Literal[1]
    resolution: Literal["most_severe", "first_match"] = "most_severe"
    rules: Annotated[list[Any], Field(max_length=MAX_RULES)]


def _build(document: Document) -> Policy:
    """The policy that a document says. Raises DocumentInvalid with all that is wrong with it."""
    form = document.fit(_PolicyForm)
    compiler = ConditionCompiler()
    entries = document.value.get("rules") if isinstance(document.value, dict) else None
    rules: dict[str, Rule] = {}
    for index in range(min(len(entries), MAX_RULES) if isinstance(entries, list) else 0):
        path: YamlPath = ("rules", index)
        entry = document.fit(_RuleForm, path)
        if entry is None:
            continue
        if entry.name in rules:
            document.refuse((*path, "name"), f"the rule {entry.name!r} is given twice")
        rules[entry.name] = _rule(entry, document, path, compiler)
    document.raise_faults()
    assert form is not None
    return Policy(tuple(rules.values()), Resolution(form.resolution), digest_of(document.value), compiler)


def _rule(entry: _RuleForm, document: Document, path: YamlPath, compiler: ConditionCompiler) -> Rule:
    said = action_policy(entry, document, path)
    match = entry.match or _MatchForm()
    condition = None
    if entry.when is not None:
        try:
            condition = compiler.compile(entry.when)
        except ConditionInvalid as error:
            document.refuse((*path, "when"), str(error))
    return Rule(
        name=entry.name,
        decision=Decision(
            effect=said.effect,
            rule=entry.name,
            reason=said.reason or _default_reason(said.effect),
            required_approvals=said.approvals,
            reviewer_role=said.role,
            approval_ttl=said.expires_in,
        ),
        actions=Globs.of(match.action) if match.action else None,
        risks=frozenset(Risk(risk) for risk in match.risk or ()),
        requesters=Globs.of(match.requester) if match.requester else None,
        labels={key: Globs.of(globs) for key, globs in (match.labels or {}).items()},
        args={
            name: Globs.of(wanted) if isinstance(wanted, list) else wanted
            for name, wanted in (match.args or {}).items()
        },
        condition=condition,
    )


def _default_reason(effect: Effect) -> str:
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
        "requester": subject.requester,
        "now": subject.now,
    }


__all__ = [
    "DEFAULT_RULE",
    "Policy",
    "PolicyInvalid",
    "Resolution",
    "Rule",
    "Subject",
    "catalogue_policy",
    "load_policy",
    "most_severe",
    "parse_policy",
]
