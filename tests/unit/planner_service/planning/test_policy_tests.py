"""Policy tests in a file: what they give, what they expect, and how they are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from plangate_core.catalogue.catalogue import load_catalogue
from planner_service.governance.governance import Governance
from planner_service.governance.policy_file import load_policy
from planner_service.planning.policy_tests import PolicyTestRun, PolicyTestsInvalid, run_policy_tests

OPS = Path(__file__).parents[4] / "examples" / "ops"
NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def governance() -> Governance:
    catalogue = load_catalogue(OPS / "catalogue.yaml")
    return Governance(catalogue, load_policy(OPS / "policy.yaml", catalogue))


def run(text: str, tmp_path: Path, governance: Governance) -> PolicyTestRun:
    file = tmp_path / "tests.yaml"
    file.write_text(f"version: 1\ntests:\n{text}")
    return run_policy_tests(file, governance, NOW)


def test_the_tests_of_the_example_pass_and_reach_every_rule(governance: Governance) -> None:
    tested = run_policy_tests(OPS / "policy_tests.yaml", governance, NOW)
    assert [outcome for outcome in tested.outcomes if outcome.differences] == []
    assert tested.rules_without_test == ()


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("deny", "expected deny, decided require_approval"),
        ("{effect: require_approval, approvals: 3}", "expected 3 approvals, decided 2"),
        (
            "{effect: require_approval, approvals: {release: 1}}",
            "expected approvals {'release': 1}, decided {'release': 2}",
        ),
        ("{effect: require_approval, role: sre}", "expected the role sre, decided release"),
        ("{effect: require_approval, rule: refunds}", "expected the rule refunds, decided production-deploys"),
        ("{effect: require_approval, expires_in: 1h}", "expected to expire in 1h, decided 4:00:00"),
    ],
)
def test_what_is_decided_otherwise_is_named_with_its_line(
    expected: str, words: str, tmp_path: Path, governance: Governance
) -> None:
    given = "{action: deploy_version, args: {service: web, version: 1.0}}".replace("1.0", '"1.0"')
    [outcome] = run(f"- name: a\n  given: {given}\n  expect: {expected}", tmp_path, governance).outcomes
    assert outcome.differences == (words,)
    assert outcome.line == 3


def test_time_requester_labels_and_assumed_arguments_are_given(tmp_path: Path, governance: Governance) -> None:
    text = """
- name: friday
  given: {action: deploy_version, args: {service: web, version: "1.0"}, now: "2026-11-27T16:00:00+00:00"}
  expect: deny
- name: incident
  given: {action: deploy_version, args: {service: web, version: "1.0"}, now: "2026-11-27T16:00", labels: {incident: x}}
  expect: require_approval
- name: bot
  given: {action: refund_order, args: {order_id: ORD-100, amount: 5}, requester: bot-1}
  expect: deny
"""
    assert all(not outcome.differences for outcome in run(text, tmp_path, governance).outcomes)


def test_all_faults_of_a_file_are_named_in_one_run(tmp_path: Path, governance: Governance) -> None:
    text = """- name: a
  given: {action: deploy_versio, args: {}}
  expect: deny
- name: b
  given: {action: deploy_version, args: {service: web, vers: "1"}}
  expect: deny
- {name: c, given: {action: reboot_host, now: soon}, expect: deny}
- {name: d, given: {action: reboot_host, args: {host: web-01}}, expects: deny}
"""
    with pytest.raises(PolicyTestsInvalid) as caught:
        run(text, tmp_path, governance)
    lines = caught.value.lines()
    for place, words in [
        (":4:", "did you mean 'deploy_version'"),
        (":7:", "vers"),
        (":9:", "isoformat"),
        (":10:", "expects"),
    ]:
        assert any(place in line and words in line for line in lines), lines
