"""Which jobs wait for which, and what becomes of them when one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plangate_core.catalogue.catalogue import parse_catalogue
from plangate_core.catalogue.document import DocumentInvalid
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, OnRefusal, StepOrder
from planner_service.governance.decision import Decision
from planner_service.governance.policy_file import parse_policy
from planner_service.governance.policy_rule import Subject
from planner_service.plan import Job
from planner_service.planning.checking.checks import check_jobs
from planner_service.planning.checking.ties import all_tied
from tests.unit.planner_service.governance.test_policy import MONDAY

CATALOGUE = parse_catalogue("""
version: 1
actions:
- {name: do, description: Do it.}
- {name: look, description: Look., order: independent}
- {name: careful, description: Do it with care., order: sequential, on_refusal: cancel}
- name: refund
  description: Pay back.
  idempotent: true
  effect_key: "refund:{args.order}:{args.amount}"
  parameters: {properties: {order: {type: string}, amount: {type: number}}, required: [order]}
""")
ALLOW = Decision(Effect.ALLOW, "all", "allowed")
DENY = Decision(Effect.DENY, "never", "never")
ASK, CONTINUE, CANCEL = OnRefusal.ASK, OnRefusal.CONTINUE, OnRefusal.CANCEL

Tie = tuple[tuple[str, ...], OnRefusal | None]


def job(number: int, action: str = "do", *needs: int, decision: Decision = ALLOW) -> Job:
    return Job(
        id=f"j{number}",
        action_name=action,
        action_args={},
        depends_on=tuple(f"j{need}" for need in needs),
        decision=decision,
    )


def ties(*jobs: Job, order: StepOrder | None = None) -> list[Tie]:
    return [(each.depends_on, each.on_refusal) for each in all_tied(jobs, CATALOGUE, order)]


def test_where_nothing_is_said_jobs_keep_their_order_and_do_not_fall_with_each_other() -> None:
    assert ties(job(1), job(2), job(3)) == [((), None), (("j1",), ASK), (("j2",), ASK)]


def test_independent_jobs_wait_for_none_and_none_waits_for_them() -> None:
    assert ties(job(1), job(2), order=StepOrder.INDEPENDENT) == [((), None), ((), None)]
    assert ties(job(1), job(2, "look"), job(3)) == [((), None), ((), None), (("j1",), ASK)]


def test_a_job_that_needs_another_falls_with_it() -> None:
    assert ties(job(1), job(2, "do", 1)) == [((), None), (("j1",), CANCEL)]
    # It needs the first and only comes after the second: a person decides.
    assert ties(job(1), job(2), job(3, "do", 1))[2] == (("j1", "j2"), ASK)
    assert ties(job(1), job(2), job(3, "do", 1), order=StepOrder.INDEPENDENT)[2] == (("j1",), CANCEL)


def test_catalogue_and_policy_count_more_than_the_request() -> None:
    assert ties(job(1, "careful"), job(2, "careful"), order=StepOrder.INDEPENDENT)[1] == (("j1",), CANCEL)
    free = replace(ALLOW, order=StepOrder.INDEPENDENT)
    assert ties(job(1, "careful"), job(2, "careful", decision=free))[1] == ((), None)
    going_on = replace(ALLOW, on_refusal=CONTINUE)
    assert ties(job(1, "careful"), job(2, "careful", decision=going_on))[1] == (("j1",), CONTINUE)


def test_a_person_is_asked_about_what_comes_after_a_denied_job() -> None:
    first, second, third = all_tied([job(1, decision=DENY), job(2), job(3)], CATALOGUE, None)
    assert first.decision == DENY
    assert second.decision is not None
    assert second.decision.effect is Effect.REQUIRE_APPROVAL
    assert second.decision.requirements == (ApprovalRequirement("", 1),)
    assert second.decision.reason == "j1 will not be carried out: run this all the same?"
    assert third.decision == ALLOW, "it comes after the second, which a person decides about"


def test_what_needs_a_denied_job_falls_and_so_does_what_needs_that() -> None:
    jobs = [job(1, decision=DENY), job(2, "do", 1), job(3, "do", 2), job(4)]
    placed = all_tied(jobs, CATALOGUE, StepOrder.INDEPENDENT)
    assert [each.on_refusal for each in placed] == [None, CANCEL, CANCEL, None]
    assert all(each.decision == ALLOW for each in placed[1:])
    # In order: the fourth comes after the third, which will not run.
    fourth = all_tied([job(1, decision=DENY), job(2, "careful", 1), job(3)], CATALOGUE, None)[2]
    assert fourth.decision is not None
    assert fourth.decision.reason.startswith("j2 will not")


def test_rules_may_say_how_jobs_are_tied_and_the_strictest_counts() -> None:
    policy = parse_policy("""
version: 1
rules:
- {name: a, effect: allow, order: independent, on_refusal: continue}
- {name: b, match: {action: do}, effect: allow, order: sequential, on_refusal: ask}
""")
    decisions = {
        action.name: policy.decide(Subject(action, {}, {}, "alice", MONDAY)) for action in CATALOGUE.actions[:2]
    }
    assert (decisions["do"].order, decisions["do"].on_refusal) == (StepOrder.SEQUENTIAL, ASK)
    assert (decisions["look"].order, decisions["look"].on_refusal) == (StepOrder.INDEPENDENT, CONTINUE)


def test_a_job_names_its_effect() -> None:
    refund = Job(id="r", action_name="refund", action_args={"order": "4711", "amount": 5.5})
    [complete], errors = check_jobs([refund], CATALOGUE)
    assert errors == []
    assert (complete.idempotent, complete.effect_key) == (True, "refund:4711:5.5")
    [other], _ = check_jobs([job(1)], CATALOGUE)
    assert (other.idempotent, other.effect_key) == (False, "")
    with pytest.raises(DocumentInvalid, match="effect_key: the action has no argument 'ordr'"):
        parse_catalogue('version: 1\nactions: [{name: a, description: A., effect_key: "r:{args.ordr}"}]')
