"""What becomes of a plan's jobs."""

from __future__ import annotations

from typing import Any

import pytest

from store_service.commands.validation import check_plan
from store_service.domain.errors import InvalidField
from store_service.domain.events import EventKind
from store_service.domain.plan import Job, PlanDraft, PlanState
from store_service.domain.proposal import Decision, Effect, OnRefusal, Proposal, ProposalState
from store_service.domain.rules import Rules
from store_service.domain.transitions import planning
from tests.support.proposals import ALICE, NOW

ALLOW = Decision(Effect.ALLOW, "harmless", "reads")
ASK = Decision(Effect.REQUIRE_APPROVAL, "risky", "writes", 2, "sre", 9)
DENY = Decision(Effect.DENY, "never", "nukes")


def _job(job_id: str, decision: Decision | None, *needs: str, **fields: Any) -> Job:
    return Job(**{"id": job_id, "action_name": "act", "decision": decision, "depends_on": needs} | fields)


def _born(*jobs: Job, others: tuple[Proposal, ...] = ()) -> dict[str, tuple[Proposal, EventKind, str]]:
    ids = iter(f"proposal-{number}" for number in range(100))
    plan, kind = planning.create("plan-1", PlanDraft(state=PlanState.PLANNED, jobs=jobs), ALICE, NOW, Rules())
    assert kind is EventKind.PLAN_CREATED
    plan, born = planning.with_proposals(plan, ALICE, NOW, Rules(), lambda: next(ids), lambda _: others)
    assert [job.proposal_id for job in plan.jobs if job.proposal_id] == [proposal.id for proposal, _, _ in born]
    not_run = {job.proposal_id for job in plan.jobs if job.will_not_run is not None}
    assert not_run == {proposal.id for proposal, _, _ in born if proposal.state is ProposalState.CANCELLED}
    return {proposal.job_id: (proposal, kind, comment) for proposal, kind, comment in born}


def test_each_decision_makes_its_proposal() -> None:
    born = _born(_job("a", ALLOW), _job("b", ASK), _job("c", DENY))
    assert set(born) == {"a", "b"}
    allowed, kind, comment = born["a"]
    assert (allowed.state, kind, comment) == (
        ProposalState.APPROVED,
        EventKind.PROPOSAL_APPROVED_BY_POLICY,
        "reads: harmless",
    )
    assert (allowed.required_approvals, allowed.review_time, allowed.version) == (0, NOW, 1)
    pending, kind, _ = born["b"]
    assert (pending.state, kind) == (ProposalState.PENDING, EventKind.PROPOSAL_CREATED)
    assert (pending.required_approvals, pending.reviewer_role, pending.expire_time) == (2, "sre", NOW + 9)
    assert pending.created_by == "alice"


def test_what_needs_a_denied_job_is_born_cancelled() -> None:
    born = _born(
        _job("late", ALLOW, "middle"), _job("middle", ASK, "denied", "fine"), _job("denied", DENY), _job("fine", ALLOW)
    )
    middle, kind, _ = born["middle"]
    assert (middle.state, kind) == (ProposalState.CANCELLED, EventKind.PROPOSAL_CANCELLED)
    assert middle.failure is not None
    assert middle.failure.reason == "DEPENDENCY_DENIED"
    assert middle.depends_on == (born["fine"][0].id,)
    late, _, _ = born["late"]
    assert late.failure is not None
    assert (late.state, late.failure.reason) == (ProposalState.CANCELLED, "DEPENDENCY_CANCELLED")
    assert born["fine"][0].state is ProposalState.APPROVED


def test_what_asks_when_a_job_before_it_is_denied_waits_for_a_person() -> None:
    born = _born(
        _job("denied", DENY),
        _job("asks", ALLOW, "denied", on_refusal=OnRefusal.ASK),
        _job("goes_on", ALLOW, "denied", on_refusal=OnRefusal.CONTINUE),
        _job("reviewed", ASK, "denied", on_refusal=OnRefusal.ASK),
        _job("falls", ALLOW, "denied"),
        _job("after_the_fallen", ALLOW, "falls", on_refusal=OnRefusal.ASK),
        _job("after_asks", ALLOW, "asks"),
    )
    asks, kind, comment = born["asks"]
    assert (asks.state, kind, asks.required_approvals, asks.waiting_for) == (
        ProposalState.PENDING,
        EventKind.PROPOSAL_CREATED,
        1,
        0,
    )
    [notice] = asks.notices
    assert (notice.reason, notice.job_id, comment) == ("DEPENDENCY_DENIED", "denied", notice.message)
    assert notice.message.endswith("run this all the same?")
    goes_on, kind, _ = born["goes_on"]
    assert (goes_on.state, kind) == (ProposalState.APPROVED, EventKind.PROPOSAL_APPROVED_BY_POLICY)
    assert [each.reason for each in goes_on.notices] == ["DEPENDENCY_DENIED"]
    reviewed = born["reviewed"][0]
    assert (reviewed.state, reviewed.required_approvals, len(reviewed.notices)) == (ProposalState.PENDING, 2, 1)
    assert born["falls"][0].state is ProposalState.CANCELLED
    last = born["after_the_fallen"][0]
    assert (last.state, last.waiting_for, last.depends_on) == (ProposalState.PENDING, 0, (born["falls"][0].id,))
    assert (last.notices[0].reason, last.notices[0].proposal_id) == ("DEPENDENCY_CANCELLED", born["falls"][0].id)
    assert (born["after_asks"][0].state, born["after_asks"][0].waiting_for) == (ProposalState.APPROVED, 1)


def test_a_second_proposal_of_one_effect_says_so_and_waits_for_a_person() -> None:
    earlier = Proposal(id="p0", effect_key="refund:4711", state=ProposalState.EXECUTED)
    born = _born(
        _job("a", ALLOW, effect_key="refund:4711"),
        _job("b", ASK, effect_key="refund:4711"),
        _job("c", ALLOW, effect_key="refund:1"),
        others=(earlier,),
    )
    first, second, other = (born[name][0] for name in "abc")
    assert (first.state, first.required_approvals) == (ProposalState.PENDING, 1)
    assert [(each.reason, each.proposal_id) for each in first.notices] == [("SAME_EFFECT", "p0")]
    assert [each.proposal_id for each in second.notices] == ["p0", first.id]
    assert (other.state, other.notices) == (ProposalState.APPROVED, ())


def test_dependencies_become_proposal_ids_and_are_counted() -> None:
    born = _born(_job("a", ALLOW), _job("b", ALLOW, "a", "a"), _job("c", ASK, "a", "b"))
    assert born["b"][0].depends_on == (born["a"][0].id,)
    assert [born[name][0].waiting_for for name in "abc"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("jobs", "path"),
    [
        ([_job("a", ALLOW), _job("a", ALLOW)], "plan.jobs[1].id"),
        ([_job("a b", ALLOW)], "plan.jobs[0].id"),
        ([_job("a", None)], "plan.jobs[0].decision"),
        ([_job("a", ALLOW, "x")], "plan.jobs[0].depends_on[0]"),
        ([_job("a", ALLOW, "b"), _job("b", ALLOW, "a")], "plan.jobs"),
        ([_job("a", ALLOW, "a")], "plan.jobs"),
        ([_job("a", ALLOW, action_name="")], "plan.jobs[0].action_name"),
        ([_job("a", ALLOW, priority=1001)], "plan.jobs[0].priority"),
        ([_job("a", ALLOW, max_attempts=101)], "plan.jobs[0].max_attempts"),
        ([_job("a", ALLOW, evidence="x" * 4001)], "plan.jobs[0].evidence"),
        ([_job(f"j{number}", ALLOW) for number in range(101)], "plan.jobs"),
    ],
)
def test_jobs_that_cannot_be_stored(jobs: list[Job], path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_plan(PlanDraft(state=PlanState.PLANNED, jobs=tuple(jobs)))
    assert refused.value.path == path


def test_a_queued_plan_has_a_prompt_and_no_jobs() -> None:
    check_plan(PlanDraft(state=PlanState.QUEUED, prompt="do it"))
    with pytest.raises(InvalidField):
        check_plan(PlanDraft(state=PlanState.QUEUED, prompt="do it", jobs=(_job("a", ALLOW),)))
    with pytest.raises(InvalidField):
        check_plan(PlanDraft(state=PlanState.QUEUED))
    with pytest.raises(InvalidField):
        check_plan(PlanDraft(state=PlanState.FAILED, prompt="do it"))
