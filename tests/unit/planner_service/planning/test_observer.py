"""What an observer of a plan in the making is told agrees with the plan in the end."""

from __future__ import annotations

from collections.abc import Sequence

from planner_service.generation.attempts import Attempt
from planner_service.generation.reply.draft import JobDraft
from planner_service.planning.checks import job_of_draft
from planner_service.planning.observer import GovernedJobObserver
from planner_service.planning.plan import Job

LOOK, ACT = JobDraft("look", {"at": "web"}), JobDraft("act", {"on": "web"})


class Heard:
    def __init__(self) -> None:
        self.news: list[tuple[str, str]] = []

    def attempt_started(self, number: int, model: str) -> None: ...

    def attempt_finished(self, attempt: Attempt) -> None: ...

    def job(self, job: Job) -> None:
        self.news.append(("job", f"{job.id} {job.action_name}"))

    def jobs_retracted(self, job_ids: Sequence[str], reason: str) -> None:
        self.news += [("taken back", job_id) for job_id in job_ids]


def test_a_job_that_comes_again_is_told_once_and_a_changed_one_is_taken_back() -> None:
    heard = Heard()
    told = GovernedJobObserver(heard, job_of_draft)
    told.job(LOOK, 0)
    told.job(LOOK, 0)
    told.job(ACT, 0)
    assert heard.news == [("job", "job_1 look"), ("taken back", "job_1"), ("job", "job_1 act")]


def test_in_the_end_everything_told_is_in_the_plan_and_the_other_way_round() -> None:
    heard = Heard()
    told = GovernedJobObserver(heard, lambda index, draft: job_of_draft(index, draft) if draft is LOOK else None)
    told.job(LOOK, 0)
    told.job(ACT, 1)
    told.jobs_retracted([0, 1], "the reply was wrong")
    told.job(LOOK, 1)
    told.settle([job_of_draft(0, LOOK), job_of_draft(1, ACT)])
    assert heard.news == [
        ("job", "job_1 look"),
        ("taken back", "job_1"),
        ("job", "job_2 look"),
        ("taken back", "job_2"),
        ("job", "job_1 look"),
        ("job", "job_2 act"),
    ]
