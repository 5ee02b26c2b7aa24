"""The services share no code, but what the planner lets through the store must take."""

from __future__ import annotations

import pytest

from planner_service.api import requests
from planner_service.generation.reply import draft
from planner_service.planning import checks, plan
from planner_service.wording import describing
from store_service.domain import limits


@pytest.mark.parametrize(
    ("planner", "store"),
    [
        (plan.MAX_PROMPT_CHARACTERS, limits.MAX_PROMPT),
        (plan.MAX_OBJECTIVE_CHARACTERS, limits.MAX_OBJECTIVE),
        (describing.MAX_DESCRIPTION_CHARACTERS, limits.MAX_DESCRIPTION),
        (plan.MAX_EVIDENCE_CHARACTERS, limits.MAX_EVIDENCE),
        (plan.MAX_JOBS, limits.MAX_JOBS),
        (draft.MAX_JOBS, limits.MAX_JOBS),
        (checks.MAX_PRIORITY, limits.MAX_PRIORITY),
        (checks.MAX_EXECUTIONS, limits.MAX_ATTEMPTS),
        (checks.MAX_REFERENCES, limits.MAX_DEPENDENCIES),
        (checks.MAX_NAME_CHARACTERS, limits.MAX_NAME),
        (requests.MAX_LABELS, limits.MAX_LABELS),
        (requests.MAX_LABEL_CHARACTERS, limits.MAX_LABEL_VALUE),
        (requests.MAX_COMMENT_CHARACTERS, limits.MAX_COMMENT),
        (requests.MAX_PLANNING_ATTEMPTS, limits.MAX_ATTEMPTS),
    ],
)
def test_both_services_have_the_same_limit(planner: int, store: int) -> None:
    assert planner == store


def test_both_services_take_the_same_names() -> None:
    assert requests._LABEL_KEY.pattern == limits.LABEL_KEY.pattern
    assert requests._UUID.pattern == limits._UUID.pattern
    assert checks._JOB_ID.pattern == limits._JOB_ID.pattern
    assert checks.MAX_ARGS_BYTES_TOGETHER < limits.MAX_PLAN_BYTES
