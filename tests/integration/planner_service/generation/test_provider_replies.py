"""Replies and errors of providers in the forms that people have met, over real HTTP: tests/data/replies.

The first line of each file says what is odd about it, the rest is the body.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from plangate_core.catalogue.catalogue import parse_catalogue
from planner_service.api.status_mapping import map_error
from planner_service.generation import errors
from planner_service.generation.instructor_client import GenerationResult
from tests.support.generation import Bench, Observed
from tests.support.model_server import ModelReply, ModelRequest, ModelServer, says

REPLIES = Path(__file__).parents[3] / "data" / "replies"
CATALOGUE = """
version: 1
actions:
  - name: delete_file
    description: Delete one file.
    risk: high
    parameters: {properties: {path: {type: string}}, required: [path]}
"""
RIGHT = {"jobs": [{"action_name": "delete_file", "action_args": {"path": "tmp/a.txt"}}]}


def body(name: str) -> bytes:
    return (REPLIES / name).read_bytes().split(b"\n", 1)[1]


def answers(name: str) -> ModelReply:
    """The file as an answer, with the status that its name ends in."""
    status = Path(name).stem.rpartition("-")[2]
    return ModelReply(
        status=int(status) if status.isdecimal() and name != "error-in-200.json" else 200,
        raw_body=body(name),
    )


def bench_for(server: ModelServer, name: str, **settings: Any) -> Bench:
    tools = "tool" in name or "arguments" in name or "function" in name
    bench = Bench(server, "openai-tools" if tools else "openai-schema", **settings)
    bench.catalogue = parse_catalogue(CATALOGUE)
    return bench


async def plan(name: str, *later: ModelReply, attempts: int = 1) -> tuple[GenerationResult, ModelServer]:
    async with ModelServer() as server, bench_for(server, name) as bench:
        server.script(answers(name), *later)
        observer = Observed() if name.startswith("stream") else None
        return await bench.instructor_client.generate_plan(bench.request(max_attempts=attempts), observer), server


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name",
    [
        "content-as-list.json",
        "finish-reason-null.json",
        "thinking-without-open-tag.json",
        "thinking-brackets.json",
        "thinking-kimi.json",
        "thinking-thought.json",
        "thinking-cohere.json",
        "thinking-harmony.json",
        "same-plan-twice.json",
        "usage-odd.json",
        "usage-list.json",
        "arguments-as-object.json",
        "function-call.json",
        "stream-tool-index-one.sse",
        "stream-tool-index-minus-one.sse",
        "stream-content-parts.sse",
        "stream-finish-null.sse",
        "stream-tool-name-late.sse",
        "tool-call-without-name.json",
    ],
)
async def test_an_odd_reply_is_the_plan_that_it_holds(name: str) -> None:
    result, _ = await plan(name)
    assert [job.action_args for job in result.draft.jobs] == [{"path": "tmp/a.txt"}]
    if name.startswith("usage"):
        assert (result.report.input_tokens, result.report.output_tokens) == (12, 5)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name",
    [
        "draft-then-final.json",
        "two-objects-bare.json",
        "two-objects-second-broken.json",
        "two-jobs-keys.json",
        "two-paths.json",
        "thinking-never-ends.json",
        "tool-use-failed-400.json",
        "malformed-function-call.json",
    ],
)
async def test_a_reply_that_leaves_open_what_is_meant_is_asked_for_again(name: str) -> None:
    result, server = await plan(name, says(RIGHT), attempts=2)
    first, second = result.report.attempts
    assert (first.outcome, second.outcome) == ("INVALID_SCHEMA", "VALID")
    assert "cannot be used" in server.requests[1].last_message
    assert [job.action_args for job in result.draft.jobs] == [{"path": "tmp/a.txt"}]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "kind", "code", "reason"),
    [
        ("content-filter-400.json", errors.ModelRefused, "FAILED_PRECONDITION", "MODEL_REFUSED"),
        ("error-in-200.json", errors.RateLimited, "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
        ("error-in-list.json", errors.RateLimited, "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
        ("finish-reason-error.json", errors.ServerFailed, "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
        ("error-in-choice.json", errors.RateLimited, "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
        ("stream-error.sse", errors.RateLimited, "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
        ("error-402-in-200.json", errors.CreditSpent, "FAILED_PRECONDITION", "PROVIDER_REJECTED"),
        ("insufficient-quota-429.json", errors.CreditSpent, "FAILED_PRECONDITION", "PROVIDER_REJECTED"),
        ("error-502-in-200.json", errors.ServerFailed, "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
        ("model-not-found-404.json", errors.ModelUnknown, "FAILED_PRECONDITION", "PROVIDER_REJECTED"),
        ("key-repeated-401.json", errors.CredentialsRejected, "FAILED_PRECONDITION", "PROVIDER_REJECTED"),
        ("response-format-400.json", errors.RequestRejected, "FAILED_PRECONDITION", "PROVIDER_REJECTED"),
        ("stream-broken-off.sse", errors.ConnectionLost, "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_error_says_decides(
    name: str, kind: type[errors.GenerationFailed], code: str, reason: str, streamed: bool
) -> None:
    if name.endswith(".sse") and not streamed:
        pytest.skip("events answer a stream only")
    async with ModelServer(default=answers(name)) as server, bench_for(server, name) as bench:
        with pytest.raises(errors.GenerationFailed) as caught, structlog.testing.capture_logs() as logs:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), Observed() if streamed else None)
    assert type(caught.value) is kind
    failure = map_error(caught.value)
    assert failure is not None
    assert (failure.code.name, failure.reason) == (code, reason)
    if reason == "PROVIDER_REJECTED":
        assert failure.message in str(logs)
        assert "try again" not in failure.message


@pytest.mark.asyncio
async def test_the_providers_reason_reaches_people_with_keys_masked_and_what_to_change() -> None:
    said = {}
    for name in ("model-not-found-404.json", "key-repeated-401.json", "response-format-400.json"):
        with pytest.raises(errors.ProviderRejected) as caught:
            await plan(name)
        said[name] = caught.value.message
    assert "The model m does not exist" in said["model-not-found-404.json"]
    assert "PLANGATE_MODEL_BASE_URL" in said["model-not-found-404.json"]
    assert "Incorrect API key provided: [key]" in said["key-repeated-401.json"]
    assert "abcdef" not in said["key-repeated-401.json"]
    assert "PLANGATE_MODEL_MODE" in said["response-format-400.json"]


@pytest.mark.asyncio
async def test_a_long_reason_is_cut() -> None:
    long = ModelReply(status=404, raw_body=json.dumps({"error": {"message": "no such model " * 1_000}}).encode())
    async with ModelServer(default=long) as server, Bench(server) as bench:
        with pytest.raises(errors.ModelUnknown) as caught:
            await bench.instructor_client.generate_plan(bench.request())
    assert len(caught.value.message) < 600


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name",
    [
        "rejects-seed-422.json",
        "rejects-seed-detail-422.json",
        "rejects-seed-errors-400.json",
        "rejects-seed-text-400.txt",
    ],
)
async def test_a_rejected_parameter_is_left_out_from_then_on(name: str) -> None:
    def answer(request: ModelRequest) -> ModelReply:
        return answers(name) if "seed" in request.body else says(RIGHT)

    async with ModelServer(default=answer) as server, bench_for(server, name) as bench:
        for _ in range(2):
            await bench.instructor_client.generate_plan(bench.request())
    assert ["seed" in request.body for request in server.requests] == [True, False, False]


@pytest.mark.asyncio
@pytest.mark.parametrize("wanted", ["max_completion_tokens", "neither"])
async def test_the_output_limit_is_sent_under_its_other_name_and_else_not_at_all(wanted: str) -> None:
    def answer(request: ModelRequest) -> ModelReply:
        names = request.body.keys() & {"max_tokens", "max_completion_tokens"}
        if names <= {wanted}:
            return says(RIGHT)
        if "max_tokens" in names:
            return answers("rejects-max-tokens-400.json")
        return ModelReply(status=400, raw_body=b'{"detail": "max_completion_tokens: unknown"}')

    async with ModelServer(default=answer) as server, bench_for(server, "max") as bench:
        for _ in range(2):
            await bench.instructor_client.generate_plan(bench.request())
    sent = [request.body.keys() & {"max_tokens", "max_completion_tokens"} for request in server.requests]
    last: set[str] = {wanted} if wanted != "neither" else set()
    assert sent[0] == {"max_tokens"}
    assert sent[-2:] == [last, last]


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
async def test_a_reply_that_is_compressed_unasked_is_read(encoding: str, streamed: bool) -> None:
    plain = body("stream-content-parts.sse" if streamed else "content-as-list.json")
    reply = ModelReply(raw_body=gzip.compress(plain), headers=(("content-encoding", encoding),))
    async with ModelServer(default=reply) as server, bench_for(server, "gzip") as bench:
        result = await bench.instructor_client.generate_plan(bench.request(), Observed() if streamed else None)
    assert [job.action_args for job in result.draft.jobs] == [{"path": "tmp/a.txt"}]


@pytest.mark.asyncio
async def test_what_a_compressed_reply_swells_to_is_bounded() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    reply = ModelReply(raw_body=bomb, headers=(("content-encoding", "gzip"),))
    async with ModelServer(default=reply) as server, bench_for(server, "gzip") as bench:
        with pytest.raises(errors.ReplyTooLarge):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
