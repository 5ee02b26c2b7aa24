"""Values that the request names and the jobs lack: no such job is carried out by policy alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plangate_core.catalogue.catalogue import parse_catalogue
from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, StepOrder
from planner_service.generation.reply.draft import LEFT_OUT
from planner_service.governance.decision import Decision
from planner_service.governance.policy_file import parse_policy
from planner_service.plan import Job
from planner_service.planning.checking.assumptions import assumed_arguments, filled_in
from planner_service.planning.checking.doubts import doubts_about

CATALOGUE = parse_catalogue("""
version: 1
actions:
- name: set_flag
  description: Turn a feature flag on or off.
  parameters:
    properties:
      flag: {type: string}
      enabled: {type: boolean}
      environment: {$ref: "#/$defs/environment"}
      options: {type: object, properties: {mode: {enum: [soft, hard], default: soft}}, default: {}}
    $defs: {environment: {type: string, enum: [dev, staging, production], default: staging}}
- name: unlock
  description: Unlock an account.
  parameters: {properties: {user: {type: string}, country: {enum: [de, fr, in, it, "no"], default: de}}}
""")
SWITCHES = parse_catalogue("""
version: 1
actions:
- name: deploy
  description: Deploy a service.
  parameters:
    properties:
      dry_run: {type: boolean, default: false}
      graceful: {type: boolean}
      notify: {type: boolean, default: true}
      all: {type: boolean, default: false}
""")
POLICY = parse_policy("version: 1\nrules: [{name: all, effect: allow}]")
LENIENT = parse_policy("version: 1\nincomplete: allow\nrules: [{name: all, effect: allow}]")
ALLOWED = Decision(Effect.ALLOW, "all", "allowed")


def job(action_name: str = "set_flag", number: int = 1, decision: Decision = ALLOWED, **args: Any) -> Job:
    return Job(id=f"job_{number}", action_name=action_name, action_args=args, decision=decision)


@pytest.mark.parametrize(
    ("prompt", "args", "words"),
    [
        (
            "turn new-checkout off in production",
            {"environment": "staging"},
            "names production, and environment of this",
        ),
        ("turn new-checkout off in Production!", {"environment": "dev"}, "names production"),
        ("turn it off in prod", {"environment": "staging"}, "names production"),
        ("turn it off in production", {}, "environment is left open"),
        ("turn it off in dev and in production", {"environment": "dev"}, "names production"),
        ("reset it hard", {"environment": "dev", "options": {"mode": "soft"}}, "options.mode of this job is soft"),
    ],
)
def test_a_named_value_that_the_job_has_not(prompt: str, args: dict[str, Any], words: str) -> None:
    doubts = doubts_about(prompt, [job(**args)], CATALOGUE)
    assert words in doubts.by_job["job_1"]
    # Whatever the policy says: what contradicts the request needs a person.
    for policy in (POLICY, LENIENT):
        decision = doubts.raised(job(**args), policy).decision
        assert decision is not None
        assert (decision.effect, decision.required_approvals) == (Effect.REQUIRE_APPROVAL, 1)
        assert words in decision.reason
        assert decision.rule == "all + incomplete-request"


@pytest.mark.parametrize(
    ("prompt", "args"),
    [
        ("turn it off in production", {"environment": "production"}),
        ("turn it off", {"environment": "staging"}),
        ("turn it off in the productionline", {"environment": "staging"}),
    ],
)
def test_what_agrees_with_the_request_raises_no_doubt(prompt: str, args: dict[str, Any]) -> None:
    doubts = doubts_about(prompt, [job(**args)], CATALOGUE)
    assert doubts.by_job == {}
    assert doubts.raised(job(**args), POLICY) == job(**args)


def test_two_jobs_that_carry_both_values() -> None:
    prompt = "turn it off in staging, then in production"
    jobs = [job(environment="staging"), job(number=2, environment="production")]
    assert doubts_about(prompt, jobs, CATALOGUE).by_job == {}
    # One of them lost its value, though another job carries it.
    lost = [job(environment="production"), job(number=2, environment="dev")]
    assert set(doubts_about("off in production and in production", lost, CATALOGUE).by_job) == {"job_2"}


def test_little_words_are_no_country_codes() -> None:
    jobs = [job("unlock", user="ann", country="de")]
    assert doubts_about("unlock ann in the app, it is urgent, no delay", jobs, CATALOGUE).by_job == {}
    assert "fr" in doubts_about("unlock ann, fr", jobs, CATALOGUE).by_job["job_1"]


def test_an_incomplete_plan_is_not_carried_out_unless_policy_says_so() -> None:
    doubts = doubts_about(
        "unlock ann@example.org and ben@example.org", [job("unlock", user="ann@example.org")], CATALOGUE
    )
    assert "ben@example.org" in doubts.incomplete
    allowed = job("unlock", user="ann@example.org")
    raised = doubts.raised(allowed, POLICY).decision
    assert raised is not None
    assert raised.effect is Effect.REQUIRE_APPROVAL
    assert doubts.raised(allowed, LENIENT) == allowed
    unordered = replace(allowed, decision=replace(ALLOWED, order=StepOrder.INDEPENDENT))
    assert getattr(doubts.raised(unordered, POLICY).decision, "order", None) is StepOrder.INDEPENDENT
    denied = replace(allowed, decision=Decision(Effect.DENY, "never", "never"))
    assert doubts.raised(denied, POLICY) == denied
    asked = replace(
        allowed, decision=Decision(Effect.REQUIRE_APPROVAL, "two", "two people", (ApprovalRequirement("sre", 2),))
    )
    kept = doubts.raised(asked, POLICY).decision
    assert kept is not None
    assert (kept.required_approvals, kept.reviewer_role) == (2, "sre")
    assert kept.reason.startswith("two people; this plan may be incomplete")


def test_what_a_default_filled_is_assumed() -> None:
    given = {"flag": "x", "options": {}, "list": [{"a": 1}]}
    complete = {"flag": "x", "environment": "staging", "options": {"mode": "soft"}, "list": [{"a": 1, "b": 2}]}
    assert filled_in(given, complete) == ("environment", "options.mode", "list.0.b")


@pytest.mark.parametrize(
    ("request_text", "given", "assumed"),
    [
        ("turn x off", {"flag": "x", "environment": "staging"}, ("options", "environment")),
        ("turn x off in Staging", {"flag": "x", "environment": "staging"}, ("options",)),
        ("turn x off", {"flag": "x", "environment": "dev"}, ("options",)),
        ("turn x off", {"flag": "x"}, ("environment", "options")),
    ],
)
def test_a_default_that_a_model_wrote_down_is_assumed_unless_the_request_says_it(
    request_text: str, given: dict[str, Any], assumed: tuple[str, ...]
) -> None:
    action = CATALOGUE.find("set_flag")
    assert action is not None
    complete, errors = CATALOGUE.check_args(action, given)
    assert errors == []
    assert set(assumed_arguments("set_flag", given, complete, request_text, CATALOGUE)) == set(assumed)


def test_a_job_that_the_model_doubted_waits_for_a_person_and_what_was_left_out_is_told() -> None:
    corrections = [
        Finding("jobs.1", "doubted", "the model was not sure that any action fits, p = 0.40"),
        Finding("jobs.0.action_args.reason", LEFT_OUT, "left out reason: the request does not state it, p = 0.31"),
    ]
    jobs = [job("unlock", number, user=user) for number, user in ((1, "ann"), (2, "ben"))]
    doubts = doubts_about("unlock ann and ben", jobs, CATALOGUE, corrections)
    assert doubts.warnings == (
        "job_2: the model was not sure that any action fits, p = 0.40",
        "job_1 (unlock): left out reason: the request does not state it, p = 0.31",
    )
    policy = parse_policy("version: 1\nrules: []")
    effects = [decided.decision.effect for each in jobs if (decided := doubts.raised(each, policy)).decision]
    assert effects == [Effect.ALLOW, Effect.REQUIRE_APPROVAL]


def test_a_refused_plan_says_why() -> None:
    refused = [Finding("", "doubted", "the model was not sure that any action fits, p = 0.40")]
    warnings = doubts_about("fly", [], CATALOGUE, refused).warnings
    assert warnings == ("refused: the model was not sure that any action fits, p = 0.40",)


@pytest.mark.parametrize(
    ("prompt", "args", "words"),
    [
        ("deploy it as a dry run", {"dry_run": False}, 'says "dry run", and dry_run of this job is false'),
        ("dry-run the deployment", {"dry_run": False}, "dry_run of this job is false"),
        ("deploy it gracefully", {}, 'says "graceful", and graceful is left open'),
        ("deploy it, and do not notify anybody", {"notify": True}, 'says "no notify", and notify of this job is true'),
        ("deploy it without a dry run", {"dry_run": True}, 'says "no dry run", and dry_run of this job is true'),
        ("deploy it as a dry run", {"dry_run": True}, ""),
        ("deploy it without a dry run", {"dry_run": False}, ""),
        ("deploy it and notify them", {"notify": True}, ""),
        # Said both ways, of a word that begins alike, of a name that is in every request.
        ("a dry run first, then no dry run", {"dry_run": False}, ""),
        ("deploy the notifier", {"notify": False}, ""),
        ("deploy all of it", {"all": False}, ""),
    ],
)
def test_a_truth_value_that_is_stated_by_the_name_of_its_argument(
    prompt: str, args: dict[str, Any], words: str
) -> None:
    doubt = doubts_about(prompt, [job("deploy", **args)], SWITCHES).by_job.get("job_1", "")
    assert words in doubt
    assert bool(doubt) is bool(words)


def test_a_truth_value_stated_for_one_of_several_jobs() -> None:
    jobs = [job("deploy", 1, dry_run=False), job("deploy", 2, dry_run=True)]
    assert doubts_about("deploy a, and b as a dry run", jobs, SWITCHES).by_job == {}
    dropped = [job("deploy", 1, dry_run=False), job("deploy", 2, dry_run=False)]
    assert doubts_about("deploy a, and b as a dry run", dropped, SWITCHES).by_job.keys() == {"job_1", "job_2"}
