"""The embedded model is asked again about jobs whose action it was not sure of; other models are not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE
from planner_service.generation.embedded.correction.second_look import MAX_QUESTIONS, MAX_REQUEST_CHARACTERS
from planner_service.generation.providers.provider_table import EMBEDDED
from tests.support.generation import PLAN, Bench, Observed
from tests.support.model_server import ModelReply, ModelRequest, ModelServer, drops, fails, garbage, says

UNSURE = (1 - QWEN_CODER_PROFILE.sure) * 2
ONE_JOB = {"jobs": PLAN["jobs"][:1]}


def answers(**words: float) -> ModelReply:
    """One token: the likeliest of these words, with the probabilities of all."""
    listed = [{"token": word, "logprob": math.log(share)} for word, share in words.items()]
    first = max(words, key=words.__getitem__)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": first},
        "finish_reason": "length",
        "logprobs": {"content": [{"token": first, "top_logprobs": listed}]},
    }
    usage = {"prompt_tokens": 40, "completion_tokens": 1, "total_tokens": 41}
    return ModelReply(raw_body=json.dumps({"choices": [choice], "usage": usage}).encode())


def unsure(*positions: int, plan: Any = PLAN) -> ModelReply:
    """A plan whose model was not sure of these jobs."""
    jobs = range(len(plan["jobs"]))
    return says(plan, refusal_probabilities=tuple(UNSURE if job in positions else 0.001 for job in jobs))


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_plan_that_the_request_does_not_ask_for_is_refused(streamed: bool) -> None:
    observer = Observed()
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(0, plan=ONE_JOB), answers(No=0.7, yes=0.2))
        result = await bench.instructor_client.generate_plan(
            bench.request(model=EMBEDDED), observer if streamed else None
        )
    assert result.draft.jobs == ()
    assert result.draft.no_action_reason == "no action of the catalogue fits; the nearest is measure_disk_use"
    assert "p = 0.78" in result.draft.corrections[0].message
    assert observer.jobs == {}, "what was shown is taken back"


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_job_among_others_stays_with_a_warning(streamed: bool) -> None:
    observer = Observed()
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(0), answers(No=0.7, yes=0.2))
        result = await bench.instructor_client.generate_plan(
            bench.request(model=EMBEDDED), observer if streamed else None
        )
    assert len(result.draft.jobs) == 2
    assert [(found.path, found.type) for found in result.draft.corrections] == [("jobs.0", "unasked")]
    if streamed:
        assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
async def test_the_question_says_the_request_and_the_job_and_nothing_else() -> None:
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(1), answers(yes=0.9))
        request = bench.request(model=EMBEDDED)
        result = await bench.instructor_client.generate_plan(request)
    assert len(result.draft.jobs) == 2
    planned, asked = server.requests
    question = asked.body["messages"][-1]["content"]
    assert f"Request: {request.prompt}\nJob: Delete one file for good (path=/var/log/old.log)\n" in question
    assert "measure_disk_use" not in json.dumps(asked.body)
    assert asked.body["max_tokens"] == 1
    assert "response_format" not in asked.body
    attempt = result.report.attempts[0]
    assert (attempt.input_tokens, attempt.output_tokens) > (40, 1), "what the question cost is counted"
    assert planned.body["messages"] != asked.body["messages"]


@pytest.mark.asyncio
async def test_nothing_is_asked_about_jobs_that_are_sure_or_doubted_already() -> None:
    doubted = says(PLAN, refusal_probabilities=(0.4, 0.001))
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(), doubted)
        for corrections in (0, 1):
            result = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED))
            assert len(result.draft.corrections) == corrections
    assert len(server.requests) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        answers(maybe=0.9),
        answers(yes=0.4, no=0.45),
        says("yes and no"),
        garbage(),
        garbage(b"[]"),
        fails(500),
        fails(429, retry_after=0),
        drops(),
        drops(after=10, content="no"),
    ],
)
async def test_an_answer_that_says_neither_leaves_the_job(answer: ModelReply) -> None:
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(0), answer)
        result = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED))
    assert len(result.draft.jobs) == 2
    assert len(result.report.attempts) == 1


@pytest.mark.asyncio
async def test_other_models_are_not_asked() -> None:
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(0, 1))
        result = await bench.instructor_client.generate_plan(bench.request())
    assert len(result.draft.jobs) == 2
    assert len(server.requests) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changes", [{"prompt": "free /var/log" + "." * MAX_REQUEST_CHARACTERS}, {"context": {"x": "y" * 1_000}}]
)
async def test_nothing_is_asked_about_a_request_too_long_to_be_shown_whole(changes: dict[str, Any]) -> None:
    async with ModelServer() as server, Bench(server) as bench:
        server.script(unsure(1), answers(no=0.9))
        result = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED, **changes))
    assert len(result.draft.jobs) == 2
    assert len(server.requests) == 1


@pytest.mark.asyncio
async def test_the_questions_about_one_plan_are_bounded() -> None:
    jobs: list[dict[str, Any]] = [
        {"action_name": "delete_file", "action_args": {"path": f"/tmp/{number}"}} for number in range(20)
    ]
    long = unsure(*range(20), plan={"jobs": jobs})

    def answer(request: ModelRequest) -> ModelReply:
        return answers(no=0.9) if request.body["max_tokens"] == 1 else long

    async with ModelServer(default=answer) as server, Bench(server) as bench:
        prompt = " ".join(job["action_args"]["path"] for job in jobs)
        result = await bench.instructor_client.generate_plan(bench.request(model=EMBEDDED, prompt=prompt))
    assert len(result.draft.corrections) == MAX_QUESTIONS
    assert len(server.requests) == 1 + MAX_QUESTIONS
