"""Jobs are told as soon as they are complete on the wire, and what was told agrees with the plan or is taken back."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest

from planner_service.generation import errors
from planner_service.generation.attempts import AttemptOutcome, Finding
from planner_service.generation.model_call import ObserverFailed
from planner_service.generation.reply.draft import JobDraft, PlanDraft
from tests.support.generation import PLAN, PROTOCOLS, Bench, Observed
from tests.support.model_server import ModelReply, ModelRequest, ModelServer, drops, garbage, hangs, says, truncates
from tests.support.polling import until

TEXT = json.dumps(PLAN)
OPENAI = ("openai-schema", "openai-tools")


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("chunk_size", [1, 7, 10_000])
async def test_every_job_is_told_once_and_as_it_is_in_the_plan(protocol: str, chunk_size: int) -> None:
    observer = Observed()
    async with ModelServer(default=says(PLAN, chunk_size=chunk_size)) as server, Bench(server, protocol) as bench:
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
        whole = await bench.instructor_client.generate_plan(bench.request())
    assert observer.kinds == ["started", "job", "job", "finished"]
    assert observer.jobs == dict(enumerate(result.draft.jobs))
    assert result.draft == whole.draft
    (attempt,) = result.report.attempts
    assert json.loads(attempt.raw_text) == PLAN
    assert (attempt.input_tokens, attempt.output_tokens) == (50, 20)
    streamed, unstreamed = (dict(request.body) for request in server.requests)
    assert streamed.pop("stream") is True
    streamed.pop("stream_options", None)
    assert streamed == unstreamed, "messages, schema and mode are the same: prompt caches hit on either"


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", OPENAI)
@pytest.mark.parametrize("indent", [None, 2])
async def test_a_server_that_does_not_stream_answers_all_at_once(protocol: str, indent: int | None) -> None:
    observer, run = Observed(), Observed()
    reply = says(json.dumps(PLAN, indent=indent))
    async with ModelServer(default=reply, streams=False) as server, Bench(server, protocol) as bench:
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
        assert (await bench.instructor_client.generate_plan(bench.request())).draft == result.draft
        assert server.connections == 1
        server.script(says(""))
        healed = await bench.instructor_client.generate_plan(bench.request(), run)
    assert [request.streamed for request in server.requests] == [True, False, True, True]
    assert observer.kinds == ["started", "job", "job", "finished"]
    assert observer.jobs == dict(enumerate(result.draft.jobs))
    (attempt,) = result.report.attempts
    assert json.loads(attempt.raw_text) == PLAN
    assert (attempt.input_tokens, attempt.output_tokens) == (50, 20)
    assert not attempt.repaired
    assert [attempt.outcome for attempt in healed.report.attempts] == [AttemptOutcome.EMPTY, AttemptOutcome.VALID]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", OPENAI)
async def test_jobs_of_a_reply_that_comes_at_once_and_is_cut_off_are_taken_back(protocol: str) -> None:
    observer = Observed()
    async with ModelServer(default=says(PLAN), streams=False) as server, Bench(server, protocol) as bench:
        server.script(truncates(PLAN, len(TEXT) - 10))
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
    assert observer.kinds == ["started", "job", "finished", "retracted", "started", "job", "job", "finished"]
    assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
@pytest.mark.parametrize("body", ['{"choices": [{"finish_reason": "stop"}]}', '{"choices": 3}', '{"choi', "{}"])
async def test_an_object_that_is_no_completion_is_the_servers_failure(body: str) -> None:
    async with ModelServer(default=garbage(body.encode())) as server, Bench(server) as bench:
        for observer in (None, Observed()):
            with pytest.raises(errors.ServerFailed):
                await bench.instructor_client.generate_plan(bench.request(max_attempts=1), observer)


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_job_is_told_while_the_model_is_still_writing(protocol: str) -> None:
    gate = asyncio.Event()
    first_job_ends = TEXT.index("}}") + 2
    reply = says(PLAN, gate=gate, gate_after=first_job_ends, chunk_size=1)
    observer = Observed()
    async with ModelServer(default=reply) as server, Bench(server, protocol) as bench:
        task = asyncio.create_task(bench.instructor_client.generate_plan(bench.request(), observer))
        await until(lambda: observer.kinds == ["started", "job"])
        assert observer.jobs[0].action_name == "measure_disk_use"
        assert not task.done()
        gate.set()
        result = await task
    assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_jobs_of_a_reply_that_breaks_off_are_taken_back(protocol: str) -> None:
    observer = Observed()
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        server.script(drops(after=3_000, content={**PLAN, "jobs": PLAN["jobs"] * 8}))
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
    assert [attempt.outcome.value for attempt in result.report.attempts] == ["PROVIDER_ERROR", "VALID"]
    told, retracted = observer.kinds.index("job"), observer.kinds.index("retracted")
    assert told < retracted
    assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
async def test_jobs_that_fail_the_checks_are_taken_back() -> None:
    def check(draft: PlanDraft) -> list[Finding]:
        return [Finding("jobs.0", "no", "no")] if len(draft.jobs) == 2 else []

    single = {**PLAN, "jobs": PLAN["jobs"][:1]}
    observer = Observed()
    async with ModelServer(default=says(single)) as server, Bench(server) as bench:
        server.script(says(PLAN))
        await bench.instructor_client.generate_plan(bench.request(check=check), observer)
    expected = ["started", "job", "job", "finished", "retracted", "started", "job", "finished"]
    assert observer.kinds == expected
    assert observer.news[4][1][0] == (0, 1)


@pytest.mark.asyncio
async def test_jobs_of_a_failed_generation_are_taken_back() -> None:
    observer = Observed()
    broken = TEXT[: TEXT.rindex("{") - 20] + " and so on"
    async with ModelServer(default=says(broken)) as server, Bench(server) as bench:
        with pytest.raises(errors.PlanInvalid):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), observer)
    assert "job" in observer.kinds
    assert observer.jobs == {}


@pytest.mark.asyncio
async def test_jobs_of_a_reply_that_says_two_things_are_taken_back() -> None:
    other = {"action_name": "delete_file", "action_args": {"path": "/tmp/x"}}
    text = f'{TEXT[:-1]}, "jobs": [{json.dumps(other)}]}}'
    observer = Observed()
    async with ModelServer(default=says(text)) as server, Bench(server) as bench:
        with pytest.raises(errors.ReplyAmbiguous):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), observer)
    assert observer.kinds == ["started", "job", "job", "finished", "retracted"]
    assert observer.jobs == {}


@pytest.mark.asyncio
async def test_a_request_that_fits_nothing_tells_no_job() -> None:
    nothing: dict[str, Any] = {
        "objective": "x",
        "jobs": [{"action_name": "no_matching_action", "action_args": {"reason": "no pizza here"}}],
    }
    observer = Observed()
    async with ModelServer(default=says(nothing)) as server, Bench(server) as bench:
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
    assert result.draft.jobs == ()
    assert result.draft.no_action_reason == "no pizza here"
    assert observer.kinds == ["started", "finished"]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_cancelling_breaks_off_the_stream(protocol: str) -> None:
    observer = Observed()
    endless = says(PLAN, gate=asyncio.Event(), gate_after=20)
    async with ModelServer(default=endless) as server, Bench(server, protocol) as bench:
        task = asyncio.create_task(bench.instructor_client.generate_plan(bench.request(), observer))
        await server.until(lambda: server.in_flight == 1 and server.bytes_sent > 100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda: server.in_flight == 0 and server.disconnects == 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", ["openai-schema", "anthropic"])
async def test_many_streams_at_once(protocol: str) -> None:
    def answer(request: ModelRequest) -> ModelReply:
        path = json.dumps(request.messages).split("delete ")[-1].split(" now")[0]
        job = {"action_name": "delete_file", "action_args": {"path": path}}
        return says({"objective": "x", "jobs": [job]}, chunk_size=5)

    async def one(number: int) -> None:
        observer = Observed()
        result = await bench.instructor_client.generate_plan(
            bench.request(prompt=f"delete /tmp/{number} now"), observer
        )
        assert observer.jobs == dict(enumerate(result.draft.jobs))
        assert result.draft.jobs[0].action_args == {"path": f"/tmp/{number}"}

    async with ModelServer(default=answer) as server, Bench(server, protocol) as bench:
        await asyncio.gather(*(one(number) for number in range(30)))
    assert len(server.requests) == 30


@pytest.mark.asyncio
async def test_a_stream_that_hangs_is_given_up() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, attempt_timeout_seconds=1.5) as bench:
        server.script(says(PLAN, gate=asyncio.Event(), gate_after=len(TEXT) - 10), hangs())
        observer = Observed()
        result = await bench.instructor_client.generate_plan(bench.request(), observer)
    assert [attempt.outcome for attempt in result.report.attempts] == [
        AttemptOutcome.TIMED_OUT,
        AttemptOutcome.TIMED_OUT,
        AttemptOutcome.VALID,
    ]
    assert observer.jobs == dict(enumerate(result.draft.jobs))


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_flood_never_fills_the_memory(streamed: bool) -> None:
    flood = ModelReply(flood_bytes=50_000_000)
    async with ModelServer(default=flood) as server, Bench(server, max_reply_bytes=1_000_000) as bench:
        with pytest.raises(errors.ReplyTooLarge):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1), Observed() if streamed else None)
        tracemalloc.start()
        try:
            with pytest.raises(errors.ReplyTooLarge):
                await bench.instructor_client.generate_plan(
                    bench.request(max_attempts=1), Observed() if streamed else None
                )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_fault_of_who_listens_is_not_the_providers(protocol: str) -> None:
    class Faulty(Observed):
        def job(self, job: JobDraft, index: int) -> None:
            raise ValueError("a fault of ours")

    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol, circuit_failures=1) as bench:
        with pytest.raises(ObserverFailed) as caught:
            await bench.instructor_client.generate_plan(bench.request(), Faulty())
        assert isinstance(caught.value.__cause__, ValueError)
        assert len((await bench.instructor_client.generate_plan(bench.request())).draft.jobs) == 2
    assert len(server.requests) == 2
