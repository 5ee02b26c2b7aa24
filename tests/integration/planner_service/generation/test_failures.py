"""Everything a provider can do wrong, over real HTTP, in both protocols, whole and streamed: one typed error each."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog.testing

from planner_service.generation import errors
from planner_service.generation.attempts import AttemptOutcome, Finding, RawText
from tests.support.generation import PLAN, PROTOCOLS, Bench, Observed
from tests.support.model_server import (
    ModelReply,
    ModelServer,
    calls,
    drops,
    fails,
    floods,
    garbage,
    hangs,
    refuses,
    says,
    truncates,
)

SECRET = "hunter2"
TOOLS = ("openai-tools", "anthropic")

# name, reply, expected error, outcome, (path, type) of the first error, protocols
MISBEHAVIOURS: list[tuple[str, ModelReply, type[errors.GenerationFailed], str, tuple[str, str], tuple[str, ...]]] = [
    ("refusal", refuses(SECRET), errors.ModelRefused, "REFUSED", ("", "refused"), PROTOCOLS),
    ("truncation", truncates(PLAN, 40), errors.ReplyTruncated, "TRUNCATED", ("", "truncated"), PROTOCOLS),
    ("rate limit", fails(429, body=SECRET), errors.RateLimited, "RATE_LIMITED", ("", "rate_limited"), PROTOCOLS),
    ("timeout", hangs(), errors.ProviderTimedOut, "TIMED_OUT", ("", "timed_out"), PROTOCOLS),
    ("no answer", drops(), errors.ConnectionLost, "PROVIDER_ERROR", ("", "connection_lost"), PROTOCOLS),
    ("half an answer", drops(20, PLAN), errors.ConnectionLost, "PROVIDER_ERROR", ("", "connection_lost"), PROTOCOLS),
    ("500", fails(500, body=SECRET), errors.ServerFailed, "PROVIDER_ERROR", ("", "server_error"), PROTOCOLS),
    ("503", fails(503, body=SECRET), errors.ServerFailed, "PROVIDER_ERROR", ("", "server_error"), PROTOCOLS),
    ("a web page", garbage(), errors.ServerFailed, "PROVIDER_ERROR", ("", "server_error"), PROTOCOLS),
    (
        "401",
        fails(401, body=SECRET),
        errors.CredentialsRejected,
        "PROVIDER_ERROR",
        ("", "credentials_rejected"),
        PROTOCOLS,
    ),
    (
        "403",
        fails(403, body=SECRET),
        errors.CredentialsRejected,
        "PROVIDER_ERROR",
        ("", "credentials_rejected"),
        PROTOCOLS,
    ),
    ("404", fails(404, body=SECRET), errors.ModelUnknown, "PROVIDER_ERROR", ("", "model_unknown"), PROTOCOLS),
    ("redirect", fails(307, body=SECRET), errors.ServerFailed, "PROVIDER_ERROR", ("", "server_error"), PROTOCOLS),
    ("wrong tool", calls("rm_rf", content=PLAN), errors.WrongToolCalled, "INVALID_SCHEMA", ("", "wrong_tool"), TOOLS),
    (
        "extra tool calls",
        calls("PlanReply", "PlanReply", content=PLAN),
        errors.ExtraToolCalls,
        "INVALID_SCHEMA",
        ("", "extra_tool_calls"),
        TOOLS,
    ),
    ("empty reply", says(""), errors.ReplyEmpty, "EMPTY", ("", "empty"), PROTOCOLS),
    ("blank reply", says("  \n "), errors.ReplyEmpty, "EMPTY", ("", "empty"), PROTOCOLS),
    ("40 MB reply", floods(40_000_000), errors.ReplyTooLarge, "TOO_LARGE", ("", "too_large"), PROTOCOLS),
    ("prose", says(f"Sure, {SECRET}!"), errors.ReplyNotJson, "INVALID_SCHEMA", ("", "json_invalid"), PROTOCOLS),
    (
        "missing jobs",
        says({"objective": SECRET}),
        errors.SchemaViolated,
        "INVALID_SCHEMA",
        ("jobs", "missing"),
        PROTOCOLS,
    ),
    (
        "no jobs",
        says({"objective": SECRET, "jobs": []}),
        errors.SchemaViolated,
        "INVALID_SCHEMA",
        ("jobs", "too_short"),
        PROTOCOLS,
    ),
    (
        "wrong types",
        says({"objective": 7, "jobs": [{"action_name": "delete_file", "action_args": [SECRET]}]}),
        errors.SchemaViolated,
        "INVALID_SCHEMA",
        ("objective", "string_type"),
        PROTOCOLS,
    ),
    (
        "unknown action",
        says({"objective": "x", "jobs": [{"action_name": SECRET, "action_args": {}}]}),
        errors.MeaningViolated,
        "INVALID_MEANING",
        ("jobs.0.action_name", "unknown_action"),
        PROTOCOLS,
    ),
    (
        "a list",
        says([1, 2]),
        errors.ReplyNotJson,
        "INVALID_SCHEMA",
        ("", "json_invalid"),
        ("openai-schema", "openai-tools"),
    ),
]
CASES = [
    pytest.param(protocol, way, *case[1:5], id=f"{case[0]}-{protocol}-{way}")
    for case in MISBEHAVIOURS
    for protocol in case[5]
    for way in ("whole", "streamed", "whole though to be streamed")
    if protocol != "anthropic" or way != "whole though to be streamed"
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("protocol", "way", "reply", "expected", "outcome", "first_error"), CASES)
async def test_every_misbehaviour_has_its_error(
    protocol: str,
    way: str,
    reply: ModelReply,
    expected: type[errors.GenerationFailed],
    outcome: str,
    first_error: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    streamed = way != "whole"
    observer = Observed() if streamed else None
    async with (
        ModelServer(default=reply, streams=way == "streamed") as server,
        Bench(server, protocol, attempt_timeout_seconds=1.5 if reply.hangs else 10.0, raw_text=RawText.REDACT) as bench,
    ):
        with pytest.raises(expected) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), observer)
        await server.until(lambda: server.in_flight == 0)
    failure = caught.value
    assert type(failure) is expected
    assert len(server.requests) == 1, "one attempt is one HTTP request: no SDK retries"
    assert server.requests[0].streamed is streamed
    assert server.bytes_sent < 30_000_000, "a flood is not read to its end, but for what the system buffers"
    assert failure.report is not None
    (attempt,) = failure.report.attempts
    assert attempt.outcome is AttemptOutcome(outcome)
    assert (attempt.errors[0].path, attempt.errors[0].type) == first_error
    assert failure.model == attempt.model == bench.model
    # What people and logs see never holds a reply; of a provider's own words it holds why it will not do this.
    shown = f"{failure} {failure.errors} {attempt} {caplog.text}"
    assert (SECRET in shown) is isinstance(failure, errors.ProviderRejected)
    if observer is not None:
        assert observer.kinds[0] == "started"
        assert ("finished", attempt) in observer.news
        assert observer.jobs == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_why_a_connection_failed_is_told_to_the_log_alone(protocol: str) -> None:
    async with ModelServer() as server, Bench(server, protocol) as bench:
        await server.stop()
        with structlog.testing.capture_logs() as logged, pytest.raises(errors.ConnectionLost) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
    [line] = logged
    assert (line["event"], line["model"]) == ("a provider failed", bench.model)
    assert "ConnectionRefusedError: [Errno 111]" in line["problem"]
    assert "Errno" not in f"{caught.value} {caught.value.report}"


def complains(http_status: int, /, **details: object) -> ModelReply:
    return ModelReply(status=http_status, raw_body=json.dumps({"type": "error", "error": details}).encode())


# What providers say of a prompt that is too long, in their own words.
TOO_LONG: list[tuple[str, ModelReply, tuple[str, ...]]] = [
    (
        "OpenAI",
        complains(
            400,
            message=f"This model's maximum context length is 8192 tokens. However, you sent 8227. {SECRET}",
            type="invalid_request_error",
            param="messages",
            code="context_length_exceeded",
        ),
        ("openai-schema", "openai-tools"),
    ),
    (
        "vLLM",
        complains(
            400,
            message="This model's maximum context length is 4096 tokens. However, you requested 4120 tokens (3120 in "
            "the messages, 1000 in the completion). Please reduce the length of the messages or completion.",
            type="BadRequestError",
            code=400,
        ),
        ("openai-schema",),
    ),
    (
        "llama.cpp",
        complains(
            400,
            code=400,
            message="request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it",
            type="exceed_context_size_error",
            n_prompt_tokens=14429,
            n_ctx=8192,
        ),
        ("openai-schema",),
    ),
    (
        "llama.cpp, when the context is full before the reply is complete",
        complains(500, code=500, message="Context size has been exceeded.", type="server_error"),
        ("openai-schema",),
    ),
    (
        "Gemini",
        complains(
            400,
            code=400,
            message="The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
            status="INVALID_ARGUMENT",
        ),
        ("openai-tools",),
    ),
    (
        "Anthropic",
        complains(400, type="invalid_request_error", message="prompt is too long: 208656 tokens > 200000 maximum"),
        ("anthropic",),
    ),
    (
        "Anthropic, with the room for the reply",
        complains(
            400,
            type="invalid_request_error",
            message="input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease it",
        ),
        ("anthropic",),
    ),
    ("too many bytes", complains(413, type="request_too_large", message="Request exceeds the maximum size"), PROTOCOLS),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("protocol", "reply"),
    [pytest.param(protocol, case[1], id=f"{case[0]}-{protocol}") for case in TOO_LONG for protocol in case[2]],
)
async def test_a_prompt_that_is_too_long_is_not_tried_again_but_with_another_model(
    protocol: str, reply: ModelReply, streamed: bool
) -> None:
    def observer() -> Observed | None:
        return Observed() if streamed else None

    async with ModelServer(default=reply) as server, Bench(server, protocol) as bench:
        with pytest.raises(errors.PromptTooLong) as caught:
            await bench.instructor_client.generate_plan(bench.request(), observer())
        assert len(server.requests) == 1
        assert SECRET not in f"{caught.value} {caught.value.errors}"
        assert caught.value.errors[0].type == "prompt_too_long"
        server.script(reply, says(PLAN))
        prefix = bench.model.partition("/")[0]
        result = await bench.instructor_client.generate_plan(
            bench.request(fallback_models=[f"{prefix}/roomier"]), observer()
        )
    assert [attempt.model for attempt in result.report.attempts] == [bench.model, f"{prefix}/roomier"]
    assert bench.pauses == [0]


@pytest.mark.asyncio
async def test_a_context_that_is_full_in_the_middle_of_a_stream_is_a_prompt_too_long() -> None:
    event = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    async with (
        ModelServer(default=ModelReply(raw_body=f"data: {json.dumps(event)}\n\n".encode())) as server,
        Bench(server) as bench,
    ):
        with pytest.raises(errors.PromptTooLong):
            await bench.instructor_client.generate_plan(bench.request(), Observed())
    assert len(server.requests) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
        "max_tokens: 21333 > 4096, which is the maximum allowed number of output tokens",
        "Unsupported parameter in this context",
    ],
)
async def test_other_complaints_are_no_prompt_too_long(message: str) -> None:
    async with ModelServer(default=complains(400, message=message)) as server, Bench(server) as bench:
        with pytest.raises(errors.RequestRejected) as caught:
            await bench.instructor_client.generate_plan(bench.request())
    assert type(caught.value) is errors.RequestRejected


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_missing_jobs_is_said_in_so_many_words(protocol: str) -> None:
    async with ModelServer(default=says({"objective": "x"})) as server, Bench(server, protocol) as bench:
        with pytest.raises(errors.SchemaViolated) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
    assert caught.value.errors == (Finding("jobs", "missing", "Field required"),)


@pytest.mark.asyncio
async def test_bad_arguments_are_a_failed_attempt_like_any_other() -> None:
    complaint = Finding("jobs.1.action_args.path", "pattern", "must not be absolute")
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        with pytest.raises(errors.MeaningViolated) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1, check=lambda _: [complaint]))
    assert caught.value.errors == (complaint,)
    assert caught.value.report is not None
    assert caught.value.report.attempts[0].outcome is AttemptOutcome.INVALID_MEANING


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", ["openai-schema", "openai-tools"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "almost",
    [
        f"```json\n{json.dumps(PLAN)}\n```",
        f"Here you are: {json.dumps(PLAN)} Anything else?",
        json.dumps(PLAN)[:-2],
        json.dumps(PLAN).replace('"', "'"),
        json.dumps(PLAN).replace("}]}", "},]}"),
        f"<think>{{hm}}</think>{json.dumps(PLAN)}",
    ],
    ids=["fenced", "chatty", "unclosed", "single quotes", "trailing comma", "thinking aloud"],
)
async def test_json_that_is_almost_right_is_repaired(protocol: str, streamed: bool, almost: str) -> None:
    observer = Observed() if streamed else None
    async with ModelServer(default=says(almost)) as server, Bench(server, protocol) as bench:
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
    (attempt,) = result.report.attempts
    assert attempt.outcome is AttemptOutcome.VALID
    assert attempt.repaired
    assert [job.action_args for job in result.draft.jobs] == [job["action_args"] for job in PLAN["jobs"]]
    if observer is not None:
        assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", TOOLS)
async def test_a_plan_said_instead_of_called_is_taken(protocol: str) -> None:
    async with ModelServer(default=calls(content=PLAN)) as server, Bench(server, protocol) as bench:
        result = await bench.instructor_client.generate_plan(bench.request())
    assert result.report.attempts[0].repaired
    assert len(result.draft.jobs) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_compressed_reply_is_not_asked_for_and_not_read(streamed: bool) -> None:
    bomb = ModelReply(raw_body=b"{}", headers=(("content-encoding", "gzip"),))
    async with ModelServer(default=bomb) as server, Bench(server) as bench:
        with pytest.raises(errors.ServerFailed):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), Observed() if streamed else None)
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("setting", "kept"),
    [("keep", json.dumps(PLAN)), ("redact", f"[{len(json.dumps(PLAN))} characters redacted]"), ("drop", "")],
)
async def test_raw_text_is_kept_redacted_or_dropped(setting: Any, kept: str) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, raw_text=RawText(setting)) as bench:
        result = await bench.instructor_client.generate_plan(bench.request())
    assert result.report.attempts[0].raw_text == kept


ODD_BODIES = [
    "null",
    "3",
    "[]",
    '"text"',
    "{}",
    '{"choices": []}',
    '{"choices": 5}',
    '{"choices": [{}]}',
    '{"choices": [null]}',
    '{"choices": [{"message": null, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"tool_calls": [{}]}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"tool_calls": [{"function": {"name": 1, "arguments": {}}}]}, "finish_reason": 7}]}',
    '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": 5}',
    '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": "many"}}',
    '{"choices": [{"message": {"content": "{\\"jobs\\": \\"\\ud800\\"}"}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": "\\udc00"}, "finish_reason": "stop"}]}',
    '{"content": 5}',
    '{"content": [null]}',
    '{"content": [{"type": "tool_use"}], "stop_reason": "tool_use"}',
    '{"content": [{"type": "text", "text": null}], "stop_reason": "end_turn"}',
    '{"error": {"message": "overloaded"}}',
]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", TOOLS)
@pytest.mark.parametrize("body", ODD_BODIES)
async def test_an_answer_that_bends_the_protocol_is_a_typed_failure(protocol: str, body: str) -> None:
    async with ModelServer(default=garbage(body.encode())) as server, Bench(server, protocol) as bench:
        with pytest.raises(errors.GenerationFailed) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
    assert len(server.requests) == 1
    assert caught.value.report is not None


ODD_EVENTS = [
    "null",
    "[]",
    "not json",
    '{"choices": 5}',
    '{"choices": [5]}',
    '{"choices": [{"delta": {"content": 5}}]}',
    '{"choices": [{"delta": {"tool_calls": [{"index": "x", "function": 7}]}}]}',
    '{"usage": 3}',
    '{"error": {"message": "overloaded"}}',
    '{"type": "message_start"}',
    '{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}',
    '{"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta"}}',
    '{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}',
]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", TOOLS)
@pytest.mark.parametrize("data", ODD_EVENTS)
async def test_a_stream_that_bends_the_protocol_is_a_typed_failure(protocol: str, data: str) -> None:
    kind = json.loads(data).get("type", "message") if data.startswith("{") else "message_start"
    stream = ModelReply(raw_body=f"event: {kind}\ndata: {data}\n\n".encode())
    async with ModelServer(default=stream) as server, Bench(server, protocol) as bench:
        with pytest.raises(errors.ProviderFailed):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), Observed())
    assert len(server.requests) == 1
