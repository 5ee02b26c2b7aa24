"""The embedded model's own doubt about a job counts as a refusal; other models are not asked for theirs."""

from __future__ import annotations

import json

import pytest

from planner_service.generation.attempts import AttemptOutcome
from planner_service.generation.providers.provider_table import EMBEDDED
from tests.support.generation import PLAN, Bench, Observed
from tests.support.model_server import ModelReply, ModelServer, says


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_doubted_job_among_others_stays_and_the_report_says_so(streamed: bool) -> None:
    observer = Observed()
    reply = says(PLAN, refusal_probabilities=(0.4, 0.01))
    async with ModelServer(default=reply) as server, Bench(server) as bench:
        result = await bench.instructor_client.generate_plan(
            bench.request(model=EMBEDDED), observer if streamed else None
        )
    assert len(result.draft.jobs) == 2
    (found,) = result.draft.corrections
    assert (found.path, found.type) == ("jobs.0", "doubted")
    (attempt,) = result.report.attempts
    assert (attempt.outcome, attempt.errors) == (AttemptOutcome.VALID, (found,))
    if streamed:
        assert observer.jobs == dict(enumerate(result.draft.jobs))
        assert "retracted" not in observer.kinds


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_plan_of_doubted_jobs_is_a_refusal(streamed: bool) -> None:
    observer = Observed()
    reply = says(PLAN, refusal_probabilities=(0.4, 0.2))
    async with ModelServer(default=reply) as server, Bench(server) as bench:
        result = await bench.instructor_client.generate_plan(
            bench.request(model=EMBEDDED), observer if streamed else None
        )
    assert result.draft.jobs == ()
    assert "the nearest is delete_file" in result.draft.no_action_reason
    assert observer.jobs == {}
    assert len(result.report.attempts) == 1


@pytest.mark.asyncio
async def test_only_the_model_it_was_measured_for_is_asked_for_probabilities() -> None:
    reply = says(PLAN, refusal_probabilities=(0.4, 0.4))
    async with ModelServer(default=reply) as server, Bench(server) as bench:
        others = await bench.instructor_client.generate_plan(bench.request())
        embedded = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED))
    assert len(others.draft.jobs) == 2
    assert len(embedded.draft.jobs) == 0
    assert ["logprobs" in request.body for request in server.requests] == [False, True]


@pytest.mark.asyncio
async def test_probabilities_that_nobody_asked_for_are_not_read() -> None:
    doubted = {"token": "measure", "top_logprobs": [{"token": "no_matching_action", "logprob": -0.1}]}
    choice = {
        "message": {"content": json.dumps(PLAN)},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": '{"jobs": [{"action_name": "'}, doubted]},
    }
    reply = ModelReply(raw_body=json.dumps({"choices": [choice]}).encode())
    async with ModelServer(default=reply) as server, Bench(server) as bench:
        others = await bench.instructor_client.generate_plan(bench.request())
        embedded = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED))
    assert (len(others.draft.corrections), len(embedded.draft.corrections)) == (0, 1)
