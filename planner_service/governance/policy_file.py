"""The policy file: its form, and all that is wrong with one.

docs/reference/policy.md describes the format, for those who write it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from plangate_core.catalogue.catalogue import ActionPolicyForm, Catalogue, Risk, action_policy, digest_of
from plangate_core.catalogue.document import Document, DocumentInvalid, Form, YamlPath
from plangate_core.catalogue.policy_effect import Effect, OnRefusal, StepOrder
from plangate_core.catalogue.yaml_document import parse_document, read_text
from planner_service.governance.condition import Condition, ConditionCompiler, ConditionInvalid
from planner_service.governance.decision import Decision
from planner_service.governance.policy import Policy, default_reason
from planner_service.governance.policy_review import review_rules
from planner_service.governance.policy_rule import Globs, Rule

MAX_RULES = 1_000


class PolicyInvalid(DocumentInvalid):
    """The policy cannot be used; has all faults with their places. `warnings`: what is odd besides, with places."""

    warnings: tuple[str, ...] = ()


def load_policy(
    path: Path | str, catalogue: Catalogue | None = None, known_roles: frozenset[str] | None = None
) -> Policy:
    """Read a policy file and compare it with the catalogue, and with the roles that identities hold.

    known_roles: None where any role may be claimed. Raises PolicyInvalid.
    """
    try:
        text = read_text(Path(path), "policy")
    except DocumentInvalid as error:
        raise PolicyInvalid.of(error, str(path)) from error
    return parse_policy(text, catalogue, known_roles, source=str(path))


def parse_policy(
    text: str, catalogue: Catalogue | None = None, known_roles: frozenset[str] | None = None, *, source: str = ""
) -> Policy:
    """As load_policy, of a text. `source` is its file's name."""
    warnings: list[str] = []
    try:
        return _policy(parse_document(text), catalogue, known_roles, source, warnings)
    except DocumentInvalid as error:
        invalid = PolicyInvalid.of(error, source)
        invalid.warnings = tuple(warnings)
        raise invalid from error


def catalogue_policy() -> Policy:
    """The policy of a planner without a policy file: the catalogue's own policies count, the rest is denied."""
    return Policy((), digest_of({"version": 1, "rules": []}), ConditionCompiler())


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
    order: Literal["independent", "sequential"] | None = None
    on_refusal: Literal["ask", "continue", "cancel"] | None = None


class _PolicyForm(Form):
    version: Literal[1]
    resolution: Literal["most_severe", "first_match"] = "most_severe"
    incomplete: Literal["allow", "require_approval"] = "require_approval"
    # Each is fitted by itself, so that a fault in one hides none of another.
    rules: Annotated[list[Any], Field(max_length=MAX_RULES)]


def _policy(
    document: Document,
    catalogue: Catalogue | None,
    known_roles: frozenset[str] | None,
    source: str,
    warnings: list[str],
) -> Policy:
    """`warnings` are added to. Raises DocumentInvalid."""
    form = document.fit(_PolicyForm)
    compiler = ConditionCompiler()
    rules: dict[int, Rule] = {}
    broken: set[int] = set()
    names: set[str] = set()
    for index, value in enumerate(_rules_of(document.value)):
        path: YamlPath = ("rules", index)
        entry = document.fit(_RuleForm, path)
        if entry is None:
            # What is right in a rule is compared with the catalogue all the same: one run lists all faults.
            broken.add(index)
            entry = _without_faults(value)
        elif entry.name in names:
            document.refuse((*path, "name"), f"the rule {entry.name!r} is given twice")
        if entry is not None:
            names.add(entry.name)
            rules[index] = _rule(entry, document, path, compiler)
            if entry.when is not None and rules[index].condition is None:
                broken.add(index)
    first_match = form is not None and form.resolution == "first_match"
    if catalogue is not None:
        for doubt in review_rules(rules, catalogue, known_roles, first_match=first_match, broken=broken):
            path = ("rules", *doubt.path)
            if doubt.decisive:
                document.refuse(path, doubt.message)
            else:
                warnings.append(document.warning(path, doubt.message, source))
    document.raise_faults()
    assert form is not None
    return Policy(
        tuple(rules.values()),
        digest_of(document.value),
        compiler,
        first_match=first_match,
        allows_incomplete=form.incomplete == "allow",
        warnings=tuple(warnings),
    )


def _rules_of(value: Any) -> list[Any]:
    """The rules of a document whose form is wrong elsewhere."""
    rules = value.get("rules") if isinstance(value, dict) else None
    return rules[:MAX_RULES] if isinstance(rules, list) else []


def _without_faults(value: Any) -> _RuleForm | None:
    """What is right in a rule whose form is wrong. None where that is no rule."""
    try:
        return _RuleForm.model_validate(value)
    except ValidationError as error:
        places = [found["loc"] for found in error.errors(include_url=False)]
    kept = copy.deepcopy(value)
    for place in places:
        _remove(kept, place)
    if isinstance(kept, dict):
        kept = {"name": "unnamed", "effect": Effect.REQUIRE_APPROVAL.value, **kept}
    try:
        return _RuleForm.model_validate(kept)
    except ValidationError:
        return None


def _remove(value: Any, place: YamlPath) -> None:
    """Remove the innermost thing that a place of pydantic's names; it may go on with names of its own."""
    container, key = None, None
    for part in place:
        if isinstance(value, dict) and part in value:
            container, key, value = value, part, value[part]
    if isinstance(container, dict) and key is not None:
        del container[key]


def _rule(entry: _RuleForm, document: Document, path: YamlPath, compiler: ConditionCompiler) -> Rule:
    """The rule, as far as it is right; what is wrong is recorded."""
    policy = action_policy(entry, document, path)
    match = entry.match or _MatchForm()
    condition: Condition | None = None
    if entry.when is not None:
        try:
            condition = compiler.compile(entry.when)
        except ConditionInvalid as error:
            document.refuse((*path, "when"), str(error))
    reason = policy.reason or default_reason(policy.effect)
    return Rule(
        name=entry.name,
        decision=replace(
            Decision(policy.effect, entry.name, reason, policy.requirements, policy.expires_in),
            order=StepOrder(entry.order) if entry.order else None,
            on_refusal=OnRefusal(entry.on_refusal) if entry.on_refusal else None,
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
