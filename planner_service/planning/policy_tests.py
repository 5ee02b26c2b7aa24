"""Tests of a policy in a file: given this job by this requester, expect this decision.

docs/reference/policy.md describes the format, for those who write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from plangate_core.catalogue.document import Document, DocumentInvalid, Form, YamlPath
from plangate_core.catalogue.duration_text import DurationText, parse_duration
from plangate_core.catalogue.yaml_document import parse_document, read_text
from planner_service.governance.decision import Decision
from planner_service.governance.governance import Governance
from planner_service.plan import Job
from planner_service.planning.checking.assumptions import filled_in
from planner_service.planning.checking.checks import check_args

MAX_TESTS = 1_000


class PolicyTestsInvalid(DocumentInvalid):
    """The file of tests cannot be used; has all faults with their places."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: its name and line, what was decided, and where that is not what was expected."""

    name: str
    line: int
    decision: Decision
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyTestRun:
    """The outcomes, in the order of the file, and the names of the rules that decided in none of them."""

    outcomes: tuple[Outcome, ...]
    rules_without_test: tuple[str, ...]


def run_policy_tests(path: Path, governance: Governance, now: datetime) -> PolicyTestRun:
    """Decide about every job of the file. `now` stands for tests that give no time. Raises PolicyTestsInvalid."""
    try:
        return _run(parse_document(read_text(path, "test")), governance, now)
    except DocumentInvalid as error:
        raise PolicyTestsInvalid.of(error, str(path)) from error


def _expected(value: Any) -> Any:
    """`expect: deny` is short for `expect: {effect: deny}`."""
    return {"effect": value} if isinstance(value, str) else value


def _time(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


class _GivenForm(Form):
    action: str
    args: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    requester: Annotated[str, StringConstraints(min_length=1)] = "requester"
    now: Annotated[datetime, BeforeValidator(_time)] | None = None
    assumed: list[str] | None = None


class _ExpectForm(Form):
    effect: Literal["allow", "require_approval", "deny"]
    approvals: Any = None
    role: str | None = None
    rule: str | None = None
    expires_in: DurationText | None = None


class _TestForm(Form):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    given: _GivenForm
    expect: Annotated[_ExpectForm, BeforeValidator(_expected)]


class _TestsForm(Form):
    version: Literal[1]
    # Each is fitted by itself, so that one run lists all faults.
    tests: Annotated[list[Any], Field(min_length=1, max_length=MAX_TESTS)]


def _run(document: Document, governance: Governance, now: datetime) -> PolicyTestRun:
    form = document.fit(_TestsForm)
    outcomes: list[Outcome] = []
    for index in range(len(form.tests) if form else 0):
        path: YamlPath = ("tests", index)
        test = document.fit(_TestForm, path)
        if test is not None and (job := _job(test.given, governance, document, (*path, "given"))) is not None:
            moment = test.given.now or now
            at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            decision = governance.decide(job, test.given.labels, test.given.requester, at)
            differences = tuple(_differences(test.expect, decision))
            outcomes.append(Outcome(test.name, document.place(path)[0], decision, differences))
    document.raise_faults()
    deciding = {name for outcome in outcomes for name in outcome.decision.rule.split(" + ")}
    idle = tuple(rule.name for rule in governance.policy.rules if rule.name not in deciding)
    return PolicyTestRun(tuple(outcomes), idle)


def _job(given: _GivenForm, governance: Governance, document: Document, path: YamlPath) -> Job | None:
    """The job that a test is about, with defaults filled in; None, and its faults are recorded, when it cannot be."""
    args, errors = check_args(given.action, given.args, governance.catalogue)
    for error in errors:
        place = error.path.replace("action_name", "action").replace("action_args", "args").split(".")
        document.refuse((*path, *place), error.message)
    if errors:
        return None
    assumed = filled_in(given.args, args) if given.assumed is None else tuple(given.assumed)
    return Job(id="job_1", action_name=given.action, action_args=args, assumed=assumed)


def _differences(expected: _ExpectForm, decision: Decision) -> Iterator[str]:
    if expected.effect != decision.effect.value:
        yield f"expected {expected.effect}, decided {decision.effect.value}"
        return
    if isinstance(expected.approvals, dict):
        decided = {requirement.role: requirement.count for requirement in decision.requirements}
        if decided != expected.approvals:
            yield f"expected approvals {expected.approvals}, decided {decided}"
    elif expected.approvals is not None and expected.approvals != decision.required_approvals:
        yield f"expected {expected.approvals} approvals, decided {decision.required_approvals}"
    if expected.role is not None and [expected.role] != [requirement.role for requirement in decision.requirements]:
        yield f"expected the role {expected.role}, decided {decision.reviewer_role or 'any'}"
    if expected.rule is not None and expected.rule not in (decision.rule, *decision.rule.split(" + ")):
        yield f"expected the rule {expected.rule}, decided {decision.rule}"
    if expected.expires_in is not None and parse_duration(expected.expires_in) != decision.approval_ttl:
        yield f"expected to expire in {expected.expires_in}, decided {decision.approval_ttl or 'never'}"
