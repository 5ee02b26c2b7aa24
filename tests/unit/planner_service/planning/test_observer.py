"""The updates that an observer gets about a plan in the making agree with the plan in the end."""

from __future__ import annotations

from planner_service.generation.reply.draft import JobDraft
from planner_service.plan import Job
from planner_service.planning.checking.checks import job_of_draft
from planner_service.planning.observer import GovernedJobObserver, JobsRetracted, PlanUpdate

LOOK, ACT = JobDraft("look", {"at": "web"}), JobDraft("act", {"on": "web"})


def short(update: PlanUpdate) -> str:
    match update:
        case Job():
            return f"{update.id} {update.action_name}"
        case JobsRetracted():
            return f"retracted {' '.join(update.job_ids)}"
    raise AssertionError(update)


def test_a_job_that_comes_again_is_sent_once_and_a_changed_one_is_retracted() -> None:
    updates: list[PlanUpdate] = []
    observer = GovernedJobObserver(updates.append, job_of_draft)
    observer.job(LOOK, 0)
    observer.job(LOOK, 0)
    observer.job(ACT, 0)
    assert list(map(short, updates)) == ["job_1 look", "retracted job_1", "job_1 act"]


def test_in_the_end_everything_sent_is_in_the_plan_and_the_other_way_round() -> None:
    updates: list[PlanUpdate] = []
    observer = GovernedJobObserver(
        updates.append, lambda index, draft: job_of_draft(index, draft) if draft is LOOK else None
    )
    observer.job(LOOK, 0)
    observer.job(ACT, 1)
    observer.jobs_retracted([0, 1], "the reply was wrong")
    observer.job(LOOK, 1)
    observer.settle([job_of_draft(0, LOOK), job_of_draft(1, ACT)])
    assert list(map(short, updates)) == [
        "job_1 look",
        "retracted job_1",
        "job_2 look",
        "retracted job_2",
        "job_1 look",
        "job_2 act",
    ]
