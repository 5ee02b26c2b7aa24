"""A generation heals itself within its budget of attempts, tokens and time, and tells what it did."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from planner_service.generation import errors
from planner_service.generation.attempts import AttemptOutcome, Finding
from planner_service.generation.prompt.prompts import MAX_REASK
from planner_service.generation.providers.circuit import CircuitState
from planner_service.generation.reply.draft import PlanDraft
from planner_service.generation.retry_policy import FIRST_BACKOFF_SECONDS
from planner_service.generation.settings import OnRepeatedError
from tests.support.generation import PLAN, PROTOCOLS, Bench
from tests.support.model_server import (
    ModelReply,
    ModelRequest,
    ModelServer,
    fails,
    hangs,
    refuses,
    says,
    truncates,
)
from tests.support.polling import until

NO_JOBS = {"objective": "x"}
ZAP = {"objective": "x", "jobs": [{"action_name": "zap", "action_args": {}}]}


def outcomes(failure_or_result: object) -> list[str]:
    report = failure_or_result.report  # type: ignore[attr-defined]
    return [attempt.outcome.value for attempt in report.attempts]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_says_what_was_wrong_and_gets_it_right(protocol: str) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        server.script(says(NO_JOBS, input_tokens=100, output_tokens=7))
        result = await bench.instructor_client.generate_plan(bench.request())
    assert outcomes(result) == ["INVALID_SCHEMA", "VALID"]
    first, second = result.report.attempts
    assert first.errors == (Finding("jobs", "missing", "Field required"),)
    assert json.loads(first.raw_text) == NO_JOBS
    assert (first.number, second.number) == (1, 2)
    # Usage is each attempt's own, not the running total that Instructor writes into the response.
    assert (first.input_tokens, first.output_tokens) == (100, 7)
    assert (second.input_tokens, second.output_tokens) == (50, 20)
    assert (result.report.input_tokens, result.report.output_tokens) == (150, 27)
    assert second.start_time >= first.start_time
    said = json.dumps(server.requests[1].messages)
    assert "jobs" in said
    assert "Field required" in said
    assert json.loads(server.requests[1].messages[-2]["content"]) == NO_JOBS


@pytest.mark.asyncio
async def test_errors_of_meaning_are_fed_back_too() -> None:
    def check(draft: PlanDraft) -> list[Finding]:
        if draft.jobs[0].action_args["path"] == "/var/log":
            return [Finding("jobs.0.action_args.path", "forbidden", "is not yours to look at")]
        return []

    better = json.loads(json.dumps(PLAN).replace("/var/log", "/tmp"))
    async with ModelServer(default=says(better)) as server, Bench(server) as bench:
        server.script(says(PLAN))
        result = await bench.instructor_client.generate_plan(bench.request(check=check))
    assert outcomes(result) == ["INVALID_MEANING", "VALID"]
    assert "is not yours to look at" in server.requests[1].last_message


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_prompts_do_not_grow_with_attempts(protocol: str) -> None:
    def long_and_wrong(request: ModelRequest) -> ModelReply:
        return says({"objective": f"{len(server.requests)} " + "blah " * 4_000})

    async with ModelServer(default=long_and_wrong) as server, Bench(server, protocol) as bench:
        with pytest.raises(errors.SchemaViolated):
            await bench.instructor_client.generate_plan(
                bench.request(max_attempts=6, check=lambda _: []),
            )
        sizes = [request.prompt_size for request in server.requests]
    assert len(sizes) == 2, "the same error twice in a row ends it"
    assert sizes[1] <= sizes[0] + MAX_REASK * 1.1


@pytest.mark.asyncio
async def test_only_the_last_error_is_told() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(says(NO_JOBS), says(ZAP), says("{}"), says("no"), says(NO_JOBS))
        result = await bench.instructor_client.generate_plan(bench.request(max_attempts=6))
        sizes = [request.prompt_size for request in server.requests]
        openings = {json.dumps(request.messages[:-2]) for request in server.requests[1:]}
    assert len(result.report.attempts) == 6
    assert openings == {json.dumps(server.requests[0].messages)}, "the opening stays the same to the byte"
    assert max(sizes) <= sizes[0] + MAX_REASK
    assert "Field required" not in json.dumps(server.requests[2].messages), "only the last one"


@pytest.mark.asyncio
async def test_an_empty_reply_leads_to_no_two_user_messages_in_a_row() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(says(""))
        await bench.instructor_client.generate_plan(bench.request())
    roles = [message["role"] for message in server.requests[1].messages]
    assert all(one != other for one, other in itertools.pairwise(roles))


@pytest.mark.asyncio
@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_attempts_are_bounded_once(attempts: int) -> None:
    replies = [says(NO_JOBS), says(ZAP), says("nonsense")]
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(*replies[:attempts])
        with pytest.raises(errors.PlanInvalid) as caught:
            await bench.instructor_client.generate_plan(bench.request(max_attempts=attempts))
    assert len(server.requests) == attempts
    assert caught.value.report is not None
    assert len(caught.value.report.attempts) == attempts


@pytest.mark.asyncio
async def test_the_same_error_twice_stops_it() -> None:
    async with (
        ModelServer(default=says(NO_JOBS)) as server,
        Bench(server, on_repeated_error=OnRepeatedError.STOP) as bench,
    ):
        with pytest.raises(errors.SchemaViolated):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=10, fallback_models=[bench.model]))
    assert len(server.requests) == 2


@pytest.mark.asyncio
async def test_the_same_error_twice_varies() -> None:
    async with (
        ModelServer(default=says(PLAN)) as server,
        Bench(server, on_repeated_error=OnRepeatedError.VARY) as bench,
    ):
        server.script(says(NO_JOBS), says(NO_JOBS))
        result = await bench.instructor_client.generate_plan(bench.request(max_attempts=3))
    assert outcomes(result) == ["INVALID_SCHEMA", "INVALID_SCHEMA", "VALID"]
    first, second, third = (request.body for request in server.requests)
    assert (first["temperature"], second["temperature"]) == (0, 0)
    assert third["temperature"] > 0
    assert first["seed"] == second["seed"] != third["seed"]
    assert [message["role"] for message in third["messages"]] == [message["role"] for message in first["messages"]]


@pytest.mark.asyncio
async def test_repeated_invalid_output_falls_back_to_the_next_model() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(says(NO_JOBS), says(ZAP))
        result = await bench.instructor_client.generate_plan(bench.request(fallback_models=["embedded"]))
    assert [attempt.model for attempt in result.report.attempts] == [bench.model, bench.model, "embedded"]
    assert result.report.model == "embedded"
    assert server.requests[2].body["model"] == "embedded-model"
    assert server.requests[2].headers["authorization"] == "Bearer embedded-key"
    # The instructions differ, because hosted models are asked for dependencies.
    first, third = server.requests[0].messages[1:], server.requests[2].messages[1:]
    assert third == first, "another model's errors are not its own"


@pytest.mark.asyncio
async def test_an_outage_is_tried_again_then_falls_back() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(fails(503), fails(500))
        result = await bench.instructor_client.generate_plan(bench.request(fallback_models=["embedded"]))
    assert [attempt.model for attempt in result.report.attempts] == [bench.model, bench.model, "embedded"]
    assert outcomes(result) == ["PROVIDER_ERROR", "PROVIDER_ERROR", "VALID"]
    assert bench.pauses == [FIRST_BACKOFF_SECONDS, 0.0]


@pytest.mark.asyncio
async def test_backoff_grows_and_ends() -> None:
    async with ModelServer(default=fails(500)) as server, Bench(server, circuit_failures=100) as bench:
        with pytest.raises(errors.ServerFailed):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=8))
    assert bench.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_will_not_get_better_is_not_tried_again(status: int) -> None:
    async with ModelServer(default=fails(status)) as server, Bench(server) as bench:
        with pytest.raises(errors.ProviderFailed):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=5))
        assert len(server.requests) == 1
        server.script(fails(status), says(PLAN))
        result = await bench.instructor_client.generate_plan(bench.request(fallback_models=["embedded"]))
    assert result.report.model == "embedded"


@pytest.mark.asyncio
async def test_a_refusal_is_final_even_with_other_models_at_hand() -> None:
    async with ModelServer(default=refuses()) as server, Bench(server) as bench:
        with pytest.raises(errors.ModelRefused):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=5, fallback_models=["embedded"]))
    assert len(server.requests) == 1


@pytest.mark.asyncio
async def test_a_parameter_the_model_does_not_know_is_left_out_from_then_on() -> None:
    picky = fails(400, body="Unsupported value: 'temperature' does not support 0 with this model.")
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(picky)
        result = await bench.instructor_client.generate_plan(bench.request())
        await bench.instructor_client.generate_plan(bench.request())
    assert outcomes(result) == ["PROVIDER_ERROR", "VALID"]
    assert ["temperature" in request.body for request in server.requests] == [True, False, False]


@pytest.mark.asyncio
async def test_a_complaint_that_does_not_go_away_is_final() -> None:
    async with ModelServer(default=fails(400, body="bad temperature")) as server, Bench(server) as bench:
        with pytest.raises(errors.RequestRejected):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=5))
    assert len(server.requests) == 2


class TestRateLimit:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_retry_after_is_waited_for(self, protocol: str) -> None:
        async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
            server.script(fails(429, retry_after=3))
            result = await bench.instructor_client.generate_plan(bench.request())
        assert outcomes(result) == ["RATE_LIMITED", "VALID"]
        assert bench.pauses == [3.0]

    @pytest.mark.asyncio
    async def test_it_is_not_waited_for_beyond_the_deadline(self) -> None:
        async with ModelServer(default=fails(429, retry_after=30)) as server, Bench(server) as bench:
            deadline = asyncio.get_running_loop().time() + 5
            with pytest.raises(errors.RateLimited) as caught:
                await bench.instructor_client.generate_plan(bench.request(deadline=deadline))
        assert caught.value.retry_after_seconds == 30.0
        assert (len(server.requests), bench.pauses) == (1, [])

    @pytest.mark.asyncio
    async def test_nor_for_an_hour(self) -> None:
        async with ModelServer(default=fails(429, retry_after=3_600)) as server, Bench(server) as bench:
            with pytest.raises(errors.RateLimited) as caught:
                await bench.instructor_client.generate_plan(bench.request())
        assert caught.value.retry_after_seconds == 3_600.0
        assert bench.pauses == []

    @pytest.mark.asyncio
    async def test_a_long_wait_sends_us_to_the_next_model(self) -> None:
        async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
            server.script(fails(429, retry_after=20))
            result = await bench.instructor_client.generate_plan(bench.request(fallback_models=["embedded"]))
        assert result.report.model == "embedded"
        assert bench.pauses == [0.0]


class TestTime:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_the_deadline_ends_it(self, protocol: str) -> None:
        async with ModelServer(default=hangs()) as server, Bench(server, protocol) as bench:
            # The first call also loads the SDK and connects: the request might not leave before the deadline.
            server.script(says(PLAN))
            await bench.instructor_client.generate_plan(bench.request())
            deadline = asyncio.get_running_loop().time() + 0.3
            with pytest.raises(errors.ProviderTimedOut) as caught:
                await bench.instructor_client.generate_plan(
                    bench.request(deadline=deadline, fallback_models=["embedded"])
                )
            await server.until(lambda: server.disconnects == 1)
        assert caught.value.deadline
        assert outcomes(caught.value) == ["TIMED_OUT"]
        assert len(server.requests) == 2

    @pytest.mark.asyncio
    async def test_a_slow_attempt_is_given_up_while_there_is_time_for_another(self) -> None:
        async with ModelServer(default=says(PLAN)) as server, Bench(server, attempt_timeout_seconds=1.5) as bench:
            server.script(hangs())
            result = await bench.instructor_client.generate_plan(bench.request())
            await server.until(lambda: server.disconnects == 1)
        assert outcomes(result) == ["TIMED_OUT", "VALID"]

    @pytest.mark.asyncio
    async def test_the_embedded_engine_gets_the_time_of_all_attempts_at_once(self) -> None:
        async with ModelServer(default=hangs()) as server, Bench(server, attempt_timeout_seconds=0.5) as bench:
            began = asyncio.get_running_loop().time()
            with pytest.raises(errors.EngineTimedOut, match=r"this machine is busy.*PLANGATE_PLAN_TIMEOUT_SECONDS"):
                await bench.instructor_client.generate_plan(bench.request(model="embedded"))
            took = asyncio.get_running_loop().time() - began
        assert len(server.requests) == 1, "what it has computed is not thrown away for a second try"
        assert took > 1.4

    @pytest.mark.asyncio
    async def test_another_model_follows_the_embedded_engine_that_is_too_slow(self) -> None:
        async with ModelServer() as server, Bench(server, attempt_timeout_seconds=0.3) as bench:
            server.script(hangs(), says(PLAN))
            result = await bench.instructor_client.generate_plan(
                bench.request(model="embedded", fallback_models=[bench.model], max_attempts=2)
            )
        assert outcomes(result) == ["TIMED_OUT", "VALID"]

    @pytest.mark.asyncio
    async def test_cancelling_the_call_breaks_off_the_models_work(self) -> None:
        async with ModelServer(default=hangs()) as server, Bench(server) as bench:
            task = asyncio.create_task(bench.instructor_client.generate_plan(bench.request()))
            await server.until(lambda: server.in_flight == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until(lambda: server.disconnects == 1 and server.in_flight == 0)


class TestTokens:
    @pytest.mark.asyncio
    async def test_spent_tokens_end_it(self) -> None:
        costly = says(NO_JOBS, input_tokens=600, output_tokens=300)
        async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
            server.script(costly)
            with pytest.raises(errors.BudgetExhausted) as caught:
                await bench.instructor_client.generate_plan(bench.request(token_budget=1_500))
        assert caught.value.token_budget == 1_500
        assert outcomes(caught.value) == ["INVALID_SCHEMA"]
        assert caught.value.errors == (Finding("jobs", "missing", "Field required"),)

    @pytest.mark.asyncio
    async def test_the_reply_may_be_no_longer_than_the_budget_pays_for(self) -> None:
        async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
            await bench.instructor_client.generate_plan(bench.request(token_budget=4_000))
            await bench.instructor_client.generate_plan(bench.request())
        limited, unlimited = (request.body["max_tokens"] for request in server.requests)
        assert unlimited == bench.settings.max_output_tokens
        assert limited <= 4_000

    @pytest.mark.asyncio
    async def test_a_budget_that_does_not_pay_for_the_prompt_costs_nothing(self) -> None:
        async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
            with pytest.raises(errors.BudgetExhausted) as caught:
                await bench.instructor_client.generate_plan(bench.request(token_budget=50))
        assert server.requests == []
        assert caught.value.report is not None
        assert caught.value.report.attempts == ()

    @pytest.mark.asyncio
    async def test_a_provider_that_does_not_count_does_not_make_the_budget_endless(self) -> None:
        def uncounted(_: ModelRequest) -> ModelReply:
            return says({"objective": "x" * (4_000 + len(server.requests))}, input_tokens=0, output_tokens=0)

        async with ModelServer(default=uncounted) as server, Bench(server) as bench:
            with pytest.raises(errors.BudgetExhausted) as caught:
                await bench.instructor_client.generate_plan(bench.request(max_attempts=10, token_budget=2_000))
        assert len(server.requests) == 1
        assert caught.value.report is not None
        assert caught.value.report.input_tokens == 0, "the report does not make numbers up"

    @pytest.mark.asyncio
    async def test_truncation_is_told_once_and_not_paid_for_again_and_again(self) -> None:
        async with ModelServer(default=truncates(PLAN, 30)) as server, Bench(server) as bench:
            with pytest.raises(errors.ReplyTruncated):
                await bench.instructor_client.generate_plan(bench.request(max_attempts=10))
        assert len(server.requests) == 2


class TestCircuit:
    @pytest.mark.asyncio
    async def test_a_provider_that_is_down_is_left_alone_then_probed(self) -> None:
        async with (
            ModelServer(default=fails(503)) as server,
            Bench(server, circuit_failures=3, circuit_open_seconds=0.05) as bench,
        ):
            with pytest.raises(errors.CircuitOpen) as caught:
                await bench.instructor_client.generate_plan(bench.request(max_attempts=5))
            assert len(server.requests) == 3
            assert outcomes(caught.value) == ["PROVIDER_ERROR"] * 3
            assert bench.instructor_client.circuits == {"openai": CircuitState.OPEN}
            with pytest.raises(errors.CircuitOpen) as caught:
                await bench.instructor_client.generate_plan(bench.request())
            assert len(server.requests) == 3, "nobody was called"
            assert caught.value.retry_after_seconds is not None
            server.default = says(PLAN)
            await until(lambda: bench.instructor_client.circuits == {"openai": CircuitState.HALF_OPEN})
            result = await bench.instructor_client.generate_plan(bench.request())
            assert result.report.attempts[0].outcome is AttemptOutcome.VALID
            assert bench.instructor_client.circuits == {"openai": CircuitState.CLOSED}

    @pytest.mark.asyncio
    async def test_an_open_circuit_costs_no_attempt_when_another_model_is_at_hand(self) -> None:
        async with ModelServer(default=fails(503)) as server, Bench(server, circuit_failures=1) as bench:
            with pytest.raises(errors.ServerFailed):
                await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
            server.default = says(PLAN)
            result = await bench.instructor_client.generate_plan(
                bench.request(max_attempts=1, fallback_models=["embedded"])
            )
        assert [attempt.model for attempt in result.report.attempts] == ["embedded"]

    @pytest.mark.asyncio
    async def test_nonsense_and_rate_limits_are_no_outage(self) -> None:
        async with ModelServer(default=says("no")) as server, Bench(server, circuit_failures=1) as bench:
            with pytest.raises(errors.PlanInvalid):
                await bench.instructor_client.generate_plan(bench.request())
            server.script(fails(429, retry_after=0), fails(429, retry_after=0), fails(429, retry_after=0))
            with pytest.raises(errors.RateLimited):
                await bench.instructor_client.generate_plan(bench.request())
            assert bench.instructor_client.circuits == {"openai": CircuitState.CLOSED}


@pytest.mark.asyncio
async def test_concurrent_generations_do_not_mix_up() -> None:
    def echo(request: ModelRequest) -> ModelReply:
        said = json.dumps(request.messages[0]) + json.dumps(request.messages[-1])
        number = next(number for number in range(40) if f"dir-{number}/" in json.dumps(request.messages))
        job = {"action_name": "delete_file", "action_args": {"path": f"dir-{number}/"}}
        good = {"objective": f"{number}", "jobs": [job]}
        return says(good) if "Field required" in said else says({"objective": f"{number}"}, input_tokens=number + 1)

    async with ModelServer(default=echo) as server, Bench(server) as bench:
        results = await asyncio.gather(
            *(
                bench.instructor_client.generate_plan(bench.request(prompt=f"delete dir-{number}/ now"))
                for number in range(40)
            )
        )
    for number, result in enumerate(results):
        assert result.draft.objective == f"{number}"
        assert outcomes(result) == ["INVALID_SCHEMA", "VALID"]
        assert result.report.attempts[0].input_tokens == number + 1
