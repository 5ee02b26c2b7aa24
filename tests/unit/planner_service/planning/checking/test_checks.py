"""Whether jobs make sense, what is said of them, and what a plan leaves out."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plangate_core.catalogue.catalogue import parse_catalogue
from plangate_core.contract.limits import MAX_PLAN_BYTES
from planner_service.generation.reply.draft import JobDraft, PlanDraft
from planner_service.plan import Job
from planner_service.planning.checking.checks import MAX_ARGS_BYTES_TOGETHER, check_jobs, jobs_of_draft
from planner_service.planning.checking.completeness import evidence_for, warnings_for
from planner_service.wording.describing import description_of

CATALOGUE = parse_catalogue("""
version: 1
actions:
  - name: look
    description: Look at a thing. It stays as it is.
    parameters: {properties: {thing: {type: string}, depth: {type: integer, default: 1}}, required: [thing]}
  - {name: anything, description: "Do anything.", parameters: {additionalProperties: true}}
""")


def a(job_id: str, *depends_on: str, **changes: Any) -> Job:
    return Job(
        **{"id": job_id, "action_name": "look", "action_args": {"thing": "x"}, "depends_on": depends_on, **changes}
    )


def found(*jobs: Job) -> list[tuple[str, str]]:
    return [(error.path, error.type) for error in check_jobs(jobs, CATALOGUE)[1]]


def test_right_jobs_get_their_defaults() -> None:
    jobs, errors = check_jobs([a("one"), a("two", "one"), a("three", "one", "two")], CATALOGUE)
    assert errors == []
    assert [job.action_args for job in jobs] == [{"thing": "x", "depth": 1}] * 3


@pytest.mark.parametrize(
    ("jobs", "errors"),
    [
        ([a("one"), a("one")], [("jobs.1.id", "not_unique")]),
        ([a("")], [("jobs.0.id", "pattern")]),
        ([a("a b")], [("jobs.0.id", "pattern")]),
        ([a("x" * 65)], [("jobs.0.id", "pattern")]),
        ([a("one", "two")], [("jobs.0.depends_on.0", "unknown_job")]),
        ([a("one", "one")], [("jobs.0.depends_on.0", "cycle")]),
        ([a("one", "two"), a("two", "three"), a("three", "one")], [("jobs.0.depends_on", "cycle")]),
        ([a("one"), a("two", "one", "three"), a("three", "two")], [("jobs.1.depends_on", "cycle")]),
        ([a("one", action_name="loook")], [("jobs.0.action_name", "unknown_action")]),
        ([a("one", action_args={})], [("jobs.0.action_args.thing", "missing")]),
        ([a("one", action_args={"thing": "x", "else": 1})], [("jobs.0.action_args", "additionalProperties")]),
        ([a("one", action_args={"thing": "\ud800"})], [("jobs.0.action_args.thing", "unicode")]),
        ([a("one", action_args={"\udfff": 1})], [("jobs.0.action_args", "unicode")]),
        ([a("one", action_args={"thing": "x", "depth": 2**53})], [("jobs.0.action_args.depth", "number")]),
        ([a("one", action_args={"thing": "x", "depth": -(10**4_000)})], [("jobs.0.action_args.depth", "number")]),
        ([a("one", action_args={"thing": "x", "depth": float("nan")})], [("jobs.0.action_args.depth", "number")]),
        ([a("one", action_name="anything", action_args={"x": "y" * 70_000})], [("jobs.0.action_args", "too_large")]),
        ([a("one", description="x" * 2001)], [("jobs.0.description", "too_long")]),
        ([a("one", evidence="x\0")], [("jobs.0.evidence", "nul")]),
        ([a("one", priority=1001)], [("jobs.0.priority", "range")]),
        ([a("one", max_attempts=101)], [("jobs.0.max_attempts", "range")]),
        ([a("one", input_context=("x",) * 65)], [("jobs.0.input_context", "too_long")]),
        ([a(f"j{number}") for number in range(101)], [("jobs", "too_long")]),
        ([a(f"j{number}", action_args={"thing": "x" * 32_000}) for number in range(99)], [("jobs", "too_large")]),
    ],
)
def test_what_is_wrong_is_named(jobs: list[Job], errors: list[tuple[str, str]]) -> None:
    assert found(*jobs) == errors


def test_a_million_dependencies_are_not_a_million_errors() -> None:
    errors = found(a("one", *["nobody"] * 1_000_000))
    assert errors[0] == ("jobs.0.depends_on", "too_long")
    assert len(errors) == 65


def test_arguments_nested_too_deep_are_named_before_anything_recurses() -> None:
    value: dict[str, Any] = {}
    for _ in range(5000):
        value = {"x": value}
    assert found(a("one", action_name="anything", action_args=value)) == [("jobs.0.action_args", "too_deep")]


def test_an_unknown_action_names_a_likely_one() -> None:
    assert "did you mean 'look'" in check_jobs([a("one", action_name="lok")], CATALOGUE)[1][0].message


def test_drafts_are_numbered_and_wrong_positions_stay_wrong() -> None:
    look = {"thing": "x"}
    draft = PlanDraft("x", (JobDraft("look", look), JobDraft("look", look, (0,)), JobDraft("look", look, (-1, 7))))
    jobs = jobs_of_draft(draft)
    assert [(job.id, job.depends_on) for job in jobs] == [
        ("job_1", ()),
        ("job_2", ("job_1",)),
        ("job_3", ("job_0", "job_8")),
    ]
    assert found(*jobs) == [("jobs.2.depends_on.0", "unknown_job"), ("jobs.2.depends_on.1", "unknown_job")]


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8))
def test_circles_are_found_exactly_when_there_are_some(edges: list[set[int]]) -> None:
    count = len(edges)
    jobs = [
        a(f"j{index}", *(f"j{other}" for other in sorted(others) if other < count))
        for index, others in enumerate(edges)
    ]
    reached = {job.id: set(job.depends_on) for job in jobs}
    for _ in range(count):
        for others in reached.values():
            for other in list(others):
                others |= reached[other]
    circular = any(name in others for name, others in reached.items())
    assert bool(found(*jobs)) == circular


def job(action_name: str, **args: Any) -> Job:
    return Job(id="j", action_name=action_name, action_args=args)


def test_reviewers_get_words() -> None:
    look = job("look", thing="web-02", depth=3)
    assert description_of(look, CATALOGUE) == "Look at a thing (thing=web-02, depth=3)"
    assert description_of(job("anything", list=["ä", True]), CATALOGUE) == 'Do anything (list=["ä", true])'
    assert len(description_of(job("anything", **{f"k{n}": "x" * 200 for n in range(50)}), CATALOGUE)) == 2000
    prompt = "First restart web-01. Then look at web-02, v1.2; and do not touch db.\nThanks!"
    assert evidence_for(look, prompt) == "Then look at web-02, v1.2;"
    assert evidence_for(job("anything"), "Hello there.") == "Hello there."
    assert evidence_for(job("anything"), "...") == ""
    assert len(evidence_for(job("anything"), "word " * 1000)) == 500


COMPLETE = [
    ("Restart web-01 and tell #ops.", [job("r", host="web-01"), job("say", channel="#ops", text="done")]),
    ("Restart web-01 and tell #ops.", [job("r", host="web-01"), job("say", channel="ops", text="done")]),
    ("Silence it for 2 hours", [job("silence", minutes=120)]),
    ("Restart these 3 hosts: web-1, web-2, web-3", [job("r", host=f"web-{n}") for n in (1, 2, 3)]),
    ("Pay 1,250.50 back to a.b@example.com", [job("pay", amount=1250.5, to="a.b@example.com")]),
    ("Give 15% off, e.g. as a follow-up, and double-check", [job("discount", share=0.15)]),
    ("Read /var/log/app/ and use svc.look", [job("svc.look", path="/var/log/app")]),
    ("Add 40 GB to `data-1`", [job("grow", volume="data-1", megabytes=40960)]),
    ("Restart web-01.example.com", [job("r", host="web-01")]),
    ("Look at Checkout.", [job("look", thing="checkout")]),
]


@pytest.mark.parametrize(("prompt", "jobs"), COMPLETE)
def test_complete_plans_raise_no_doubt(prompt: str, jobs: list[Job]) -> None:
    assert warnings_for(prompt, jobs) == ()


INCOMPLETE = [
    ("Restart web-01 and web-02.", [job("r", host="web-01")], ["web-02"]),
    ("Restart web-01, then tell #ops.", [job("r", host="web-01")], ["#ops"]),
    ("Refund it and silence it for 2 hours", [job("refund"), job("silence", minutes=20)], ["2"]),
    ("Scale it to 7 replicas", [job("scale", replicas=3)], ["7"]),
    ("Refund ORD-1 and ORD-22", [job("refund", order="ORD-1")], ["ORD-22"]),
    ("Mail ann@example.com and bob@example.com", [job("mail", to="bob@example.com")], ["ann@example.com"]),
    ("Archive /var/log/a and /srv/b_c", [job("archive", path="/var/log/a")], ["/srv/b_c"]),
    ("Restart web on web-02", [job("r", host="web")], ["web-02"]),
    ("Pay 100 and 2500", [job("pay", amount=100)], ["2500"]),
]


@pytest.mark.parametrize(("prompt", "jobs", "missing"), INCOMPLETE)
def test_what_is_left_out_is_named(prompt: str, jobs: list[Job], missing: list[str]) -> None:
    [warning] = warnings_for(prompt, jobs)
    assert warning == f"this plan may be incomplete: the request names {', '.join(missing)}, and no job mentions it"


def test_a_plan_without_jobs_and_a_long_list_of_names() -> None:
    assert warnings_for("Restart web-01", []) == ()
    [warning] = warnings_for(" ".join(f"host-{n}" for n in range(50)), [job("r", host="other")])
    assert "and more" in warning
    assert len(warning) < 300


@given(st.text(max_size=400), st.dictionaries(st.text(max_size=5), st.text(max_size=10) | st.integers(), max_size=3))
def test_no_text_confuses_the_comparison(prompt: str, args: dict[str, Any]) -> None:
    jobs = [Job(id="j", action_name="look", action_args=args)]
    for warning in warnings_for(prompt, jobs):
        assert warning.startswith("this plan may be incomplete")
    assert len(evidence_for(jobs[0], prompt)) <= 500


@pytest.mark.parametrize("piece", ["-", "a.", "a@", "1 ", "a-1 ", '"', "#a", "1,", "ab-1/", "a@b.", "a. ", "/"])
def test_no_prompt_makes_the_comparison_slow(piece: str) -> None:
    prompt = (piece * 32_768)[:32_768]
    big = job("look", thing="x " * 5000, numbers=list(range(5000)), **{f"k{n}": f"v{n}" for n in range(500)})
    begun = time.perf_counter()
    warnings_for(prompt, [big])
    evidence_for(big, prompt)
    assert time.perf_counter() - begun < 3


def test_arguments_of_all_jobs_together_fit_into_a_stored_plan() -> None:
    assert MAX_ARGS_BYTES_TOGETHER < MAX_PLAN_BYTES
