"""A policy is compared with its catalogue: what cannot be meant is named, with its place, all in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from plangate_core.catalogue.catalogue import load_catalogue, parse_catalogue
from planner_service.governance.files import GovernanceRefused, read_governance
from planner_service.governance.policy_file import PolicyInvalid, parse_policy

EXAMPLES = Path(__file__).parents[4] / "examples" / "ops"
ROLES = frozenset({"reviewer", "release", "support", "finance", "security"})

TYPOS = [
    # what stands in the example, what is planted in its place, what the message names
    ("name: messages-are-free\n    match: {action: post_message}", "post_message}", "post_mesage}", "'post_mesage'"),
    ("name: not-to-everybody\n", "channel: [", "chanel: [", "'chanel'"),
    (
        "name: outside-production\n",
        "restart_service, scale_service, ",
        "restart_servce, scale_service, ",
        "restart_servce",
    ),
    ("name: outside-production\n", "environment: [dev, staging]", "environment: [dev, stagin]", '"stagin"'),
    ("name: production-changes\n", "scale_service, rollback", "scale-service, rollback", "'scale-service'"),
    ("name: production-changes\n", "environment: production", "enviroment: production", "'enviroment'"),
    ("name: production-changes\n", "effect: require_approval", "efect: require_approval", "efect"),
    ("name: production-changes\n", "expires_in: 4h", "expires_in: 4hr", "expires_in"),
    ("name: production-deploys\n", "production}}", "prodution}}", '"prodution"'),
    ("name: production-deploys\n", "role: release", "role: realease", "'realease'"),
    ("name: production-deploys\n", "approvals: 2", "aprovals: 2", "aprovals"),
    ("name: no-friday-evening-deploys\n", '"incident" in labels', '"incidnet" in labels', "at 1:54"),
    ("name: no-friday-evening-deploys\n", "deploy_version", "deploy_versio", "'deploy_versio'"),
    ("name: never-to-zero\n", "args.replicas", "args.replica", "'replica'"),
    ("name: never-to-zero\n", '== "production"', '== "Production"', '"Production"'),
    ("name: quiet-for-an-hour\n", "args.duration_minutes", "args.duration_minute", "'duration_minute'"),
    ("name: quiet-for-longer\n", "silence_alert", "silence_alarm", "'silence_alarm'"),
    ("name: hands-on-machines\n", "reboot_host", "reboot_hosts", "'reboot_hosts'"),
    ("name: hands-on-machines\n", "page_on_call", "page_oncall", "'page_oncall'"),
    ("name: small-refunds\n", "args.amount <= 50", 'args["ammount"] <= 50', "'ammount'"),
    ("name: small-refunds\n", "role: support", "role: suport", "'suport'"),
    ("name: refunds\n", "args.amount > 50", "arg.amount > 50", "'arg.amount'"),
    ("name: refunds\n", "role: finance", "role: finances", "'finances'"),
    ("name: no-admins-by-request\n", "role: admin", "role: admn", '"admn"'),
    ("name: no-admins-by-request\n", "effect: deny", "effect: denny", "effect"),
    ("name: access-is-granted\n", "role: security", "role: securty", "'securty'"),
    ("name: access-is-granted\n", "grant_access", "grant_acess", "'grant_acess'"),
    ("name: access-is-taken-away\n", "revoke_access", "revoke_*_access", "'revoke_*_access'"),
    ("name: bots-do-not-spend\n", "risk: high", "risk: hihg", "risk"),
    ("name: bots-do-not-spend\n", "requester:", "requestr:", "requestr"),
]


def planted(text: str, rule: str, old: str, new: str) -> tuple[str, int]:
    """The text with one place of one rule changed, and the line of it."""
    before, begin, rest = text.partition(rule.partition("\n")[0] + "\n")
    at = rest.index(old)
    changed = before + begin + rest[:at] + new + rest[at + len(old) :]
    return changed, (before + begin + rest[:at]).count("\n") + 1


def faults_of(text: str) -> list[str]:
    try:
        return list(parse_policy(text, load_catalogue(EXAMPLES / "catalogue.yaml"), ROLES).warnings)
    except PolicyInvalid as error:
        return [*error.lines(), *error.warnings]


def test_the_example_is_without_faults() -> None:
    assert faults_of((EXAMPLES / "policy.yaml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("rule", "old", "new", "words"), TYPOS)
def test_a_planted_typo_is_named_with_its_line(rule: str, old: str, new: str, words: str) -> None:
    text, line = planted((EXAMPLES / "policy.yaml").read_text(encoding="utf-8"), rule, old, new)
    found = faults_of(text)
    assert any(words in fault and f"line:{line}:" in fault for fault in found), found


def test_thirty_planted_typos_are_named_in_one_run() -> None:
    assert len(TYPOS) == 30
    text = (EXAMPLES / "policy.yaml").read_text(encoding="utf-8")
    wanted = []
    for rule, old, new, words in TYPOS:
        text, line = planted(text, rule, old, new)
        wanted.append((f"line:{line}:", words))
    found = faults_of(text)
    missing = [place for place in wanted if not any(place[0] in fault and place[1] in fault for fault in found)]
    assert missing == []


CATALOGUE = """
version: 1
actions:
- name: flag.set
  description: Set a flag.
  risk: high
  parameters:
    properties:
      name: {type: string}
      environment: {type: string, enum: [staging, production]}
      share: {anyOf: [{type: integer}, {type: "null"}]}
      options: {type: object, properties: {mode: {$ref: "#/$defs/mode"}}, additionalProperties: false}
      free: {type: object}
    $defs: {mode: {enum: [soft, hard]}}
- {name: look, description: Look., risk: low, policy: deny}
"""


def doubts(rules: str, resolution: str = "most_severe") -> list[str]:
    text = f"version: 1\nresolution: {resolution}\nrules:\n{rules}"
    try:
        return list(parse_policy(text, parse_catalogue(CATALOGUE), ROLES).warnings)
    except PolicyInvalid as error:
        return [*error.lines(), *error.warnings]


@pytest.mark.parametrize(
    "condition",
    [
        "args.options.mode == 'soft' && has(args.options.mode)",
        "args.free.anything == 5",
        "args.share == null || args.share > 5",
        "args['name'].startsWith('x') && 'name' in args",
        "args.environment.startsWith('prod')",
        "args.environment in ['staging', 'production']",
        "'options.mode' in assumed && 'environment' in assumed",
        "action.name == 'flag.set' && action.risk == 'high'",
        "'anything' in labels && labels.anything == 'x'",
        "'production' == args.environment",
    ],
)
def test_what_the_catalogue_has_raises_no_doubt(condition: str) -> None:
    assert doubts(f'- {{name: a, effect: deny, when: "{condition}"}}') == []


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("args.options.mdoe == 'soft'", "'mdoe'"),
        ("args.options.mode == 'sotf'", '"sotf": did you mean'),
        ("args.share == 'half'", '"half"'),
        ("args.name == 5", "5"),
        ("args.name > 5", "cannot be compared with 5"),
        ("args.environment.startsWith('prd')", "startsWith"),
        ("args.environment.matches('^test')", "matches"),
        ("args.environment in ['staging', 'prod']", '"prod"'),
        ("'enviroment' in assumed", "'enviroment'"),
        ("'options.mdoe' in assumed", "'mdoe'"),
        ("action.name == 'flagset'", '"flagset"'),
        ("action.nmae == 'flag.set'", "'nmae'"),
        ("action.risk == 'severe'", '"severe"'),
        ("labels['Team'] == 'x'", "'Team'"),
        ("'prodution' == args.environment", '"prodution"'),
        ("args.environment != 'prodution'", '"prodution"'),
    ],
)
def test_what_it_has_not_is_named(condition: str, words: str) -> None:
    [doubt] = doubts(f'- {{name: a, effect: deny, when: "{condition}"}}')
    assert words in doubt
    assert "when: at 1:" in doubt


def test_an_allow_rule_is_warned_about_only() -> None:
    policy = parse_policy(
        "version: 1\nrules:\n- {name: a, match: {action: flagset}, effect: allow}", parse_catalogue(CATALOGUE)
    )
    [warning] = policy.warnings
    assert "'flagset': did you mean 'flag.set'?" in warning


def test_rules_that_no_job_reaches() -> None:
    shadowed = """
- {name: all, match: {action: "flag.*"}, effect: allow}
- {name: late, match: {action: flag.set, args: {environment: production}}, effect: deny}
"""
    [doubt] = doubts(shadowed, "first_match")
    assert "line:6:" in doubt
    assert "all decides all that it fits" in doubt
    assert doubts(shadowed) == []
    [doubt] = doubts("- {name: never, effect: deny}\n- {name: a, match: {action: look}, effect: allow}")
    assert "never decides all that it fits" in doubt


def test_a_risk_that_no_fitting_action_has() -> None:
    [doubt] = doubts("- {name: a, match: {action: look, risk: high}, effect: deny}")
    assert "no action that fits has the risk high" in doubt


def test_roles_of_the_catalogue_must_be_known_too(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        "version: 1\n"
        "actions:\n"
        "  - {name: a, description: A., policy: {effect: require_approval, role: finanse}}\n"
        "  - {name: b, description: B., policy: {effect: require_approval, approvals: {finance: 1, legel: 1}}}\n"
        "  - {name: c, description: C., policy: {effect: require_approval}}\n"
    )
    assert len(read_governance(file, None).current.catalogue.actions) == 3
    with pytest.raises(GovernanceRefused) as refused:
        read_governance(file, None, known_roles=lambda: ROLES)
    assert [fault.removeprefix(str(file)).lstrip(":") for fault in refused.value.faults] == [
        "3:73: actions.0.policy.role: no known identity holds the role 'finanse': did you mean 'finance'?",
        "4:98: actions.1.policy.approvals.legel: no known identity holds the role 'legel'",
    ]
