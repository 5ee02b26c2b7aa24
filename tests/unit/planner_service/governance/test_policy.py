"""Rules: what they match, how they combine, and how conditions fail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plangate_core.catalogue.catalogue import load_catalogue, parse_catalogue
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect
from planner_service.governance.decision import Decision
from planner_service.governance.policy import Policy, most_severe
from planner_service.governance.policy_file import PolicyInvalid, catalogue_policy, load_policy, parse_policy
from planner_service.governance.policy_rule import Subject

CATALOGUE = parse_catalogue("""
version: 1
actions:
  - {name: read.log, description: Read., risk: low}
  - {name: svc.restart, description: Restart., risk: medium}
  - {name: pay, description: Pay., risk: high, policy: {effect: require_approval, role: finance, expires_in: 2h}}
  - {name: unjudged, description: Nobody judged it.}
  - {name: never, description: Never., risk: low, policy: {effect: deny, reason: not here}}
""")
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def rules(text: str, resolution: str = "most_severe") -> Policy:
    return parse_policy(f"version: 1\nresolution: {resolution}\nrules:\n{text}")


def decide(
    policy: Policy,
    action: str = "read.log",
    args: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    requester: str = "alice",
    now: datetime = MONDAY,
) -> Decision:
    found = CATALOGUE.find(action)
    assert found is not None
    return policy.decide(Subject(found, args or {}, labels or {}, requester, now))


ALLOW, APPROVE, DENY = Effect.ALLOW, Effect.REQUIRE_APPROVAL, Effect.DENY


def test_what_no_rule_decides_is_denied() -> None:
    for policy in (rules(" []"), catalogue_policy(), rules("- {name: a, match: {action: other}, effect: allow}")):
        assert decide(policy) == Decision(DENY, "default", "no rule allows it")


def test_the_catalogues_own_word_counts_as_a_rule() -> None:
    assert decide(catalogue_policy(), "never") == Decision(DENY, "catalogue:never", "not here")
    assert decide(catalogue_policy(), "pay") == Decision(
        APPROVE, "catalogue:pay", "the rule asks for approval", (ApprovalRequirement("finance", 1),), timedelta(hours=2)
    )
    everything = rules("- {name: all, effect: allow}")
    assert decide(everything, "pay").effect is APPROVE
    assert decide(everything, "never").effect is DENY
    assert decide(everything, "read.log").rule == "all"


MATCHES: list[tuple[str, dict[str, Any], bool]] = [
    ("action: read.log", {}, True),
    ("action: 'read.*'", {}, True),
    ("action: '*.log'", {}, True),
    ("action: [pay, 'r?ad.log']", {}, True),
    ("action: read", {}, False),
    ("action: READ.LOG", {}, False),
    ("action: 'read.lo'", {}, False),
    ("action: '***************************x'", {"action": "unjudged"}, False),
    ("risk: low", {}, True),
    ("risk: [medium, high]", {}, False),
    ("risk: high", {"action": "unjudged"}, True),
    ("risk: low", {"action": "unjudged"}, False),
    ("requester: alice", {}, True),
    ("requester: ['bot-*', bob]", {}, False),
    ("requester: ['bot-*', bob]", {"requester": "bot-7"}, True),
    ("labels: {team: ops}", {"labels": {"team": "ops"}}, True),
    ("labels: {team: ['sec-*', ops]}", {"labels": {"team": "sec-1"}}, True),
    ("labels: {team: '*'}", {}, False),
    ("labels: {team: ops, env: prod}", {"labels": {"team": "ops"}}, False),
    ("args: {host: 'web-*'}", {"args": {"host": "web-1"}}, True),
    ("args: {host: 'web-*'}", {"args": {"host": "db-1"}}, False),
    ("args: {host: 'web-*'}", {"args": {}}, False),
    ("args: {host: '*'}", {"args": {"host": 5}}, False),
    ("args: {count: 5}", {"args": {"count": 5.0}}, True),
    ("args: {count: 1}", {"args": {"count": True}}, False),
    ("args: {flag: true}", {"args": {"flag": True}}, True),
    ("args: {flag: true}", {"args": {"flag": 1}}, False),
    ("args: {note: null}", {"args": {"note": None}}, True),
    ("args: {note: null}", {"args": {}}, False),
    ("action: read.log, risk: low, requester: alice", {}, True),
    ("action: read.log, risk: low, requester: bob", {}, False),
]


@pytest.mark.parametrize(("match", "subject", "fits"), MATCHES)
def test_matching(match: str, subject: dict[str, Any], fits: bool) -> None:
    policy = rules(f"- {{name: r, match: {{{match}}}, effect: allow}}")
    assert (decide(policy, **subject).effect is ALLOW) == fits


CONDITIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("args.amount > 100", {"args": {"amount": 101}}, True),
    ("args.amount > 100", {"args": {"amount": 100.5}}, True),
    ("args.amount > 100.25", {"args": {"amount": 100}}, False),
    ("has(args.amount) && args.amount > 100", {}, False),
    ("'prod' in args.envs", {"args": {"envs": ["dev", "prod"]}}, True),
    ("args.hosts.exists(host, host.startsWith('db-'))", {"args": {"hosts": ["web-1", "db-1"]}}, True),
    ("args.hosts.all(host, host.matches('^web-[0-9]+$'))", {"args": {"hosts": ["web-1", "web-x"]}}, False),
    ("args.deep.er.value == 'x'", {"args": {"deep": {"er": {"value": "x"}}}}, True),
    ("labels.team == 'ops'", {"labels": {"team": "ops"}}, True),
    ("!('incident' in labels)", {"labels": {"incident": "1"}}, False),
    ("requester.endsWith('@example.com')", {"requester": "a@example.com"}, True),
    ("action.name == 'read.log' && action.risk == 'low'", {}, True),
    ("action.risk == 'high'", {"action": "unjudged"}, True),
    ("now.getDayOfWeek() == 1 && now.getHours() == 9", {}, True),
    ("now.getHours('Europe/Berlin') == 10", {}, True),
    ("now < timestamp('2026-12-01T00:00:00Z')", {}, True),
    ("args.flag", {"args": {"flag": True}}, True),
]


@pytest.mark.parametrize(("condition", "subject", "holds"), CONDITIONS)
def test_conditions(condition: str, subject: dict[str, Any], holds: bool) -> None:
    assert (decide(rules(_when(condition)), **subject).effect is ALLOW) == holds


def _when(condition: str) -> str:
    return f"- name: r\n  effect: allow\n  when: >-\n    {condition}"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("args.amount > 100", "amount"),
        ("args.text > 100", "overload"),
        ("labels.team == 'ops'", "team"),
        ("args.text", "neither true nor false"),
        ("1 / args.zero == 1", "divide by zero"),
        ("[1,2,3,4,5,6,7,8,9].all(a, args.many.all(b, true))", "budget"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_denies(condition: str, words: str) -> None:
    policy = rules(_when(condition) + "\n- {name: all, effect: allow}")
    decision = decide(policy, args={"text": "x", "zero": 0, "many": [1] * 5000})
    assert (decision.effect, decision.rule) == (DENY, "r")
    assert decision.reason.startswith("the rule's condition cannot be evaluated: ")
    assert words in decision.reason.lower()
    # One that does not concern the job is not evaluated.
    elsewhere = rules(_when(condition) + "\n  match: {action: other}\n- {name: all, effect: allow}")
    assert decide(elsewhere, args={"text": "x"}).effect is ALLOW


def test_hostile_arguments_cannot_hang_a_condition() -> None:
    policy = rules(_when("args.text.matches('^(a+)+$') || args.many.exists(x, args.many.exists(y, x + y == -1))"))
    begun = time.perf_counter()
    decision = decide(policy, args={"text": "a" * 50_000 + "b", "many": list(range(3000))})
    assert decision.effect is DENY
    assert time.perf_counter() - begun < 5


def test_rules_combine_to_the_most_severe() -> None:
    policy = rules("""
- {name: one, effect: require_approval, reason: because}
- {name: two, effect: require_approval, approvals: 2, expires_in: 1h, reason: because}
- {name: three, effect: require_approval, role: sre, expires_in: 2h, reason: sre must know}
- {name: free, effect: allow}
""")
    decision = decide(policy)
    assert (decision.effect, decision.rule) == (APPROVE, "one + two + three")
    assert (decision.reason, decision.approval_ttl) == ("because; sre must know", timedelta(hours=1))
    # Two reviewers, one of them of the role sre: exactly what the rules ask for together.
    assert decision.requirements == (ApprovalRequirement("sre", 1), ApprovalRequirement("", 1))
    assert (decision.required_approvals, decision.reviewer_role) == (2, "")
    assert decide(policy, "pay").requirements == (ApprovalRequirement("finance", 1), ApprovalRequirement("sre", 1))


def test_one_rule_may_ask_for_several_roles() -> None:
    policy = rules("""
- {name: both, effect: require_approval, approvals: {finance: 2, legal: 1}}
- {name: more, effect: require_approval, approvals: 4}
- {name: finance, effect: require_approval, role: finance}
""")
    wanted = (ApprovalRequirement("finance", 2), ApprovalRequirement("legal", 1), ApprovalRequirement("", 1))
    assert decide(policy).requirements == wanted
    assert decide(policy).required_approvals == 4
    with pytest.raises(PolicyInvalid, match=r"4:\d+: rules.0.role: approvals gives the roles already"):
        rules("- {name: a, effect: require_approval, approvals: {finance: 1}, role: legal}")


def test_the_first_match_decides_alone_when_asked_to() -> None:
    text = """
- {name: reads, match: {risk: low}, effect: allow}
- {name: all, effect: deny}
"""
    assert decide(rules(text, "first_match")).rule == "reads"
    assert decide(rules(text, "most_severe")).rule == "all"
    # The catalogue's own word comes after the file's rules.
    assert decide(rules("- {name: all, effect: allow}", "first_match"), "never").rule == "all"
    assert decide(rules(" []", "first_match"), "never").rule == "catalogue:never"
    broken = rules(_when("args.gone") + "\n- {name: all, effect: allow}", "first_match")
    assert decide(broken).effect is DENY


DECISIONS = st.builds(
    lambda effect, name, count, role, hours: Decision(
        effect,
        name,
        f"because {name}",
        (ApprovalRequirement(role, count),) if effect is APPROVE else (),
        timedelta(hours=hours) if effect is APPROVE and hours else None,
    ),
    st.sampled_from(Effect),
    st.sampled_from("abcdef"),
    st.integers(1, 4),
    st.sampled_from(["", "sre", "finance"]),
    st.integers(0, 3),
)


@settings(deadline=None)
@given(st.lists(DECISIONS, min_size=1, max_size=4))
def test_more_rules_never_make_it_easier(decisions: list[Decision]) -> None:
    whole = most_severe(decisions)
    for part in decisions:
        assert SEVERITY[whole.effect] >= SEVERITY[part.effect]
        if whole.effect is APPROVE and part.effect is APPROVE:
            assert whole.required_approvals >= part.required_approvals
            assert all(
                _count(whole, requirement.role) >= requirement.count
                for requirement in part.requirements
                if requirement.role
            )
            assert part.approval_ttl is None or (whole.approval_ttl or timedelta.max) <= part.approval_ttl
    for other in permutations(decisions):
        again = most_severe(list(other))
        assert (again.effect, again.requirements, again.approval_ttl) == (
            whole.effect,
            whole.requirements,
            whole.approval_ttl,
        )
    assert len(whole.rule) <= 128


def _count(decision: Decision, role: str) -> int:
    return sum(requirement.count for requirement in decision.requirements if requirement.role == role)


SEVERITY = {ALLOW: 0, APPROVE: 1, DENY: 2}

REFUSED: list[tuple[str, str]] = [
    ("rules: []", "1:1: version: Field required"),
    ("version: 1\nresolution: any\nrules: []", "2:13: resolution"),
    ("version: 1\ndefault: allow\nrules: []", "2:10: default: there is no such field"),
    ("version: 1\nrules:\n- {name: a, effect: alow}", "3:21: rules.0.effect: Input should be 'allow'"),
    ("version: 1\nrules:\n- {name: a}", "3:3: rules.0.effect: Field required"),
    ("version: 1\nrules:\n- {name: 'catalogue:a', effect: deny}", "3:10: rules.0.name"),
    ("version: 1\nrules:\n- {name: a, effect: deny}\n- {name: a, effect: deny}", "4:10: rules.1.name: the rule 'a' is"),
    ("version: 1\nrules:\n- {name: a, effect: allow, approvals: 2}", "only require_approval takes approvals"),
    ("version: 1\nrules:\n- {name: a, effect: deny, expires_in: 1h}", "only require_approval takes expires_in"),
    ("version: 1\nrules:\n- {name: a, effect: require_approval, expires_in: 0s}", "at least 1s"),
    ("version: 1\nrules:\n- {name: a, effect: deny, match: {risk: lo}}", "rules.0.match.risk"),
    ("version: 1\nrules:\n- {name: a, effect: deny, match: {acton: x}}", "match.acton: there is no such field"),
    ("version: 1\nrules:\n- {name: a, effect: deny, match: {args: {x: [1]}}}", "rules.0.match.args.x"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_faults_are_named_with_their_place(text: str, words: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("1 +", "at 1:4: Syntax error"),
        ("amount > 1", "at 1:1: undeclared reference to 'amount'"),
        ("requester", "must be true or false, but is STRING"),
        ("size(args)", "must be true or false, but is INT"),
        ("labels.x > 3", "no matching overload"),
        ("requester.matches('(?=a)')", "invalid regular expression"),
        ("requester.upper() == 'A'", "undeclared reference to 'upper'"),
        ("args.a.all(x, args.b.all(y, args.c.all(z, true)))", "nests more than 2"),
        ("'+' == '+' && 1" + "+1" * 9 + " == 10", "more than 8 additions"),
        ("true " + "&& true " * 300, "longer than 2000"),
        ("(" * 60 + "true" + ")" * 60, "recursion limit"),
    ],
)
def test_conditions_are_checked_at_load(condition: str, words: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        rules(_when(condition))
    assert words in caught.value.message
    assert caught.value.message.startswith("rules.0.when: ")
    assert caught.value.line == 6


def test_what_a_macro_gathers_is_no_addition_of_the_condition() -> None:
    found = ("args.l.filter(x, x > 1).size() == 1", "args.l.map(x, x).size() == 2", "args.l.exists_one(x, x > 1)")
    policy = rules(_when(" && ".join(found * 4)))

    assert decide(policy, args={"l": [1, 2]}).effect is Effect.ALLOW


def test_the_example_decides_as_it_says() -> None:
    catalogue = load_catalogue("examples/ops/catalogue.yaml")
    policy = load_policy("examples/ops/policy.yaml")

    def says(
        action: str, requester: str = "alice", labels: dict[str, str] | None = None, now: datetime = MONDAY, **args: Any
    ) -> Decision:
        found = catalogue.find(action)
        assert found is not None
        complete, errors = catalogue.check_args(found, args)
        assert errors == []
        return policy.decide(Subject(found, complete, labels or {}, requester, now))

    friday = datetime(2026, 11, 27, 16, tzinfo=UTC)
    assert says("get_service_status", service="web").effect is ALLOW
    assert says("post_message", channel="#ops", text="hi").effect is ALLOW
    assert says("post_message", channel="#general", text="hi").effect is APPROVE
    assert says("restart_service", service="web", environment="dev").effect is ALLOW
    assert says("restart_service", service="web").effect is APPROVE
    assert says("scale_service", service="web", replicas=0).effect is DENY
    deploy = says("deploy_version", service="web", version="1.2.3")
    assert (deploy.required_approvals, deploy.reviewer_role) == (2, "release")
    assert says("deploy_version", now=friday, service="web", version="1.2.3").effect is DENY
    assert (
        says("deploy_version", now=friday, labels={"incident": "7"}, service="web", version="1.2.3").effect is APPROVE
    )
    assert says("refund_order", order_id="ORD-100", amount=20).reviewer_role == "support"
    assert says("refund_order", order_id="ORD-100", amount=51).required_approvals == 2
    assert says("refund_order", requester="anonymous", order_id="ORD-100", amount=51).effect is DENY
    grant = says("grant_access", user="a@example.com", system="vpn", role="reader")
    assert (grant.effect, grant.reviewer_role, grant.approval_ttl) == (APPROVE, "security", timedelta(hours=8))
    assert says("grant_access", user="a@example.com", system="vpn", role="admin").effect is DENY
    assert says("delete_database", database="x").effect is DENY
