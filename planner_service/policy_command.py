"""`python -m planner_service policy test FILE...`: see docs/reference/policy.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from plangate_core.process.standard_output import written
from plangate_core.text.printable import visible
from planner_service.governance.files import GovernanceRefused, read_governance
from planner_service.planning.policy_tests import PolicyTestRun, PolicyTestsInvalid, run_policy_tests
from planner_service.settings import PlannerSettings

PASSED, FAILED, UNUSABLE = 0, 1, 2


def run(arguments: Sequence[str], settings: PlannerSettings) -> int:
    """Run the tests of policy files. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="plangate policy", description="Work on policies.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    test = verbs.add_parser(
        "test",
        help="decide about the jobs of test files, and compare with what they expect",
        epilog="Exit status: 0 all decisions are as expected, 1 some are not, 2 a file cannot be used.",
    )
    test.add_argument("tests", type=Path, nargs="+", metavar="FILE", help="a file of tests")
    test.add_argument("--catalogue", type=Path, metavar="FILE", help="PLANGATE_CATALOGUE_FILE")
    test.add_argument("--policy", type=Path, metavar="FILE", help="PLANGATE_POLICY_FILE")
    chosen = parser.parse_args(arguments)
    try:
        files = read_governance(
            chosen.catalogue or settings.catalogue_file,
            chosen.policy or settings.policy_file,
            known_roles=settings.known_roles,
        )
    except GovernanceRefused as error:
        return _unusable(error.faults)
    now = datetime.now(UTC)
    tested: list[tuple[Path, PolicyTestRun]] = []
    faults: list[str] = []
    for path in chosen.tests:
        try:
            tested.append((path, run_policy_tests(path, files.current, now)))
        except PolicyTestsInvalid as error:
            faults += error.lines()
    if faults:
        return _unusable(faults)
    with written("the answer"):
        return _print(tested)


def _unusable(faults: Sequence[str]) -> int:
    for fault in faults:
        print(f"plangate policy: {visible(fault)}", file=sys.stderr)
    return UNUSABLE


def _print(tested: Sequence[tuple[Path, PolicyTestRun]]) -> int:
    passed = failed = 0
    for path, policy in tested:
        for outcome in policy.outcomes:
            if not outcome.differences:
                passed += 1
                continue
            failed += 1
            decision = outcome.decision
            print(f"{path}:{outcome.line}: {visible(outcome.name)}: {'; '.join(outcome.differences)}")
            print(f"    rule {decision.rule}: {visible(decision.reason)}")
    idle = set.intersection(*(set(policy.rules_without_test) for _, policy in tested))
    if idle:
        print(f"rules without a test: {', '.join(name for name in tested[0][1].rules_without_test if name in idle)}")
    print(f"{passed} passed, {failed} failed")
    return FAILED if failed else PASSED
