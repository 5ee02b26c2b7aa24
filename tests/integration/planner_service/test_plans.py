"""CreatePlan: from plain words to a governed plan in the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_client.errors import (
    BudgetExhausted,
    InvalidField,
    ModelNotAllowed,
    ModelRefused,
    NumberNotExact,
    Overloaded,
    PlangateError,
    PlanInvalid,
    PromptTooLong,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from tests.support.model_server import fails, hangs, refuses, says
from tests.support.planner_house import PlannerHouse, asking, draft, open_house, struct


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path) as house:
        yield house


@pytest.mark.asyncio
async def test_a_plan_is_generated_governed_and_stored(house: PlannerHouse) -> None:
    house.answers(("read_status", {"service": "web"}), ("restart_service", {"service": "web"}))
    plan = await house.planner("alice").create_plan(
        asking("Look at web. Then restart it.", labels={"team": "ops"}, context=struct(region="eu", hosts=3))
    )
    assert plan.state == plan_pb2.PLAN_STATE_PLANNED
    assert (plan.created_by, plan.objective, plan.labels["team"]) == ("alice", "Do it.", "ops")
    assert plan.context["hosts"] == 3
    look, restart = plan.jobs
    assert (look.id, look.action_args["depth"]) == ("job_1", 1)
    assert look.decision.effect == plan_pb2.EFFECT_ALLOW
    assert look.decision.rule == "catalogue:read_status"
    assert look.description == "Read the status of a service (service=web, depth=1)"
    assert look.evidence == "Look at web."
    assert (restart.id, [*restart.depends_on]) == ("job_2", ["job_1"])
    assert restart.decision == plan_pb2.Decision(
        effect=plan_pb2.EFFECT_REQUIRE_APPROVAL,
        reason="restarts interrupt people",
        rule="catalogue:restart_service",
        required_approvals=2,
        reviewer_role="sre",
        governance_digest=house.planners[0].governance.current.digest,
        decided_by="planner",
    )
    assert look.proposal_id
    assert restart.proposal_id
    report = plan.generation
    governance = house.planners[0].governance.current
    assert report.model == "openai/test-model"
    assert report.prompt_template_version
    assert (report.catalogue_digest, report.policy_digest) == (governance.catalogue.digest, governance.policy.digest)
    [attempt] = report.attempts
    assert attempt.outcome == plan_pb2.ATTEMPT_OUTCOME_VALID
    assert (report.input_tokens, report.output_tokens) == (50, 20)
    assert await house.store().plans.get(plan.id) == plan


@pytest.mark.asyncio
async def test_why_the_model_failed_can_be_seen(house: PlannerHouse) -> None:
    house.model.script(
        says({"objective": "no jobs"}),
        says(draft(("read_status", {"service": 5}), ("restart_service", {"service": "NOT OK"}))),
        says(draft(("read_status", {"service": "web"}))),
    )
    plan = await house.planner().create_plan(asking("look at web"))
    first, second, third = plan.generation.attempts
    assert [(error.path, error.message) for error in first.errors] == [("jobs", "Field required")]
    assert second.outcome == plan_pb2.ATTEMPT_OUTCOME_INVALID_MEANING
    assert [(error.path, error.type) for error in second.errors] == [
        ("jobs.0.action_args.service", "type"),
        ("jobs.1.action_args.service", "pattern"),
    ]
    assert third.outcome == plan_pb2.ATTEMPT_OUTCOME_VALID


@pytest.mark.asyncio
async def test_a_model_that_never_gives_a_valid_plan_stores_nothing(house: PlannerHouse) -> None:
    house.answers(("restart_service", {}))
    with pytest.raises(PlanInvalid) as caught:
        await house.planner().create_plan(asking("restart web", max_attempts=2))
    assert caught.value.code == grpc.StatusCode.ABORTED
    report = caught.value.generation
    assert report is not None
    assert len(report.attempts) == 2
    assert report.attempts[-1].errors[0].path == "jobs.0.action_args.service"
    assert "Field required" in report.attempts[-1].errors[0].message
    assert await house.stored_plans() == []


@pytest.mark.asyncio
async def test_a_request_that_fits_no_action_says_so(house: PlannerHouse) -> None:
    house.model.script(
        says({"objective": "x", "jobs": [{"action_name": "no_matching_action", "action_args": {"reason": "No oven."}}]})
    )
    plan = await house.planner().create_plan(asking("bake a cake"))
    assert plan.state == plan_pb2.PLAN_STATE_PLANNED
    assert not plan.jobs
    assert plan.no_action_reason == "No oven."


@pytest.mark.asyncio
async def test_what_the_plan_leaves_out_is_a_warning(house: PlannerHouse) -> None:
    house.answers(("restart_service", {"service": "web-01"}))
    plan = await house.planner().create_plan(asking("restart web-01 and web-02"))
    [warning] = plan.warnings
    assert "web-02" in warning
    assert "web-01" not in warning


@pytest.mark.asyncio
async def test_a_denied_job_makes_no_proposal(house: PlannerHouse) -> None:
    house.answers(("drop_database", {"name": "orders"}), ("refund_order", {"order": "A-1", "amount": 1000.5}))
    plan = await house.planner().create_plan(asking("drop orders"))
    assert [job.decision.reason for job in plan.jobs] == ["never by machine", "too much for a machine"]
    assert [job.decision.rule for job in plan.jobs] == ["catalogue:drop_database", "large-refunds"]
    assert [job.proposal_id for job in plan.jobs] == ["", ""]


@pytest.mark.asyncio
async def test_validate_only_stores_nothing(house: PlannerHouse) -> None:
    house.answers(("read_status", {"service": "web"}))
    plan = await house.planner().create_plan(asking("look", validate_only=True))
    assert (plan.id, plan.version) == ("", 0)
    assert plan.jobs[0].decision.effect == plan_pb2.EFFECT_ALLOW
    assert await house.stored_plans() == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": " \n"}, "prompt"),
    ({"prompt": "x" * 32_769}, "prompt"),
    ({"prompt": "look\0"}, "prompt"),
    ({"labels": {"Team": "ops"}}, 'labels["Team"]'),
    ({"labels": {"team": "x" * 257}}, 'labels["team"]'),
    ({"labels": {f"label{number}": "x" for number in range(65)}}, "labels"),
    ({"request_id": "not-a-uuid"}, "request_id"),
    ({"max_attempts": 11}, "max_attempts"),
    ({"max_attempts": -1}, "max_attempts"),
    ({"token_budget": -1}, "token_budget"),
    ({"model": "m" * 129}, "model"),
    ({"context": struct(x="y" * 66_000)}, "context"),
]


@pytest.mark.asyncio
async def test_wrong_fields_are_named(house: PlannerHouse) -> None:
    planner = house.planner()
    for fields, field in WRONG:
        with pytest.raises(InvalidField) as caught:
            await planner.create_plan(asking(**{"prompt": "look", **fields}))
        assert caught.value.metadata["field"] == field
    assert house.model.requests == []


@pytest.mark.asyncio
async def test_a_number_that_would_be_rounded_is_refused(house: PlannerHouse) -> None:
    with pytest.raises(NumberNotExact) as caught:
        await house.planner().create_plan(asking("look", context=struct(account=float(2**53))))
    assert caught.value.metadata["field"] == "context.account"


@pytest.mark.asyncio
async def test_only_allowed_models_may_be_named(house: PlannerHouse) -> None:
    with pytest.raises(ModelNotAllowed) as caught:
        await house.planner().create_plan(asking("look", model="openai/gpt-9"))
    assert caught.value.metadata["model"] == "openai/gpt-9"
    await house.add_planner(allowed_models=("openai/other",))
    house.answers(("read_status", {"service": "web"}))
    plan = await house.planner(number=1).create_plan(asking("look", model="openai/other"))
    assert plan.generation.model == "openai/other"
    assert house.model.requests[-1].body["model"] == "other"


@pytest.mark.asyncio
async def test_a_key_in_a_file_is_sent_without_the_line_feed_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-in-a-file\n")
    async with open_house(tmp_path, model_api_key=None, model_api_key_file=tmp_path / "key") as house:
        house.answers(("read_status", {"service": "web"}))
        await house.planner().create_plan(asking("look"))
        assert house.model.requests[0].headers["authorization"] == "Bearer sk-in-a-file"


@pytest.mark.asyncio
async def test_each_failure_of_a_provider_has_its_status(house: PlannerHouse) -> None:
    planner = house.planner()
    cases: list[tuple[object, type[PlangateError], dict[str, object]]] = [
        (refuses(), ModelRefused, {}),
        (fails(429, retry_after=60), ProviderRateLimited, {"max_attempts": 1}),
        (fails(413), PromptTooLong, {}),
        (says(draft(("restart_service", {})), input_tokens=500), BudgetExhausted, {"token_budget": 400}),
    ]
    for number, (reply, kind, fields) in enumerate(cases):
        house.model.script(reply)  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            await planner.create_plan(asking(f"look {number}", **fields))
        assert caught.value.generation is not None
        assert caught.value.metadata["model"] == "openai/test-model"
    house.model.script(hangs())
    with pytest.raises(ProviderTimeout):
        await planner.create_plan(asking("look again"), timeout_seconds=1.0)
    house.model.default = fails(503, body="secret of the provider")
    with pytest.raises(ProviderUnavailable) as unavailable:
        await planner.create_plan(asking("look once more", max_attempts=1))
    assert "secret" not in str(unavailable.value.failure.details) + unavailable.value.message


@pytest.mark.asyncio
async def test_an_operator_sets_how_much_is_read_and_when_a_provider_is_left_alone(
    house: PlannerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANGATE_MODEL_CIRCUIT_FAILURES", "1")
    monkeypatch.setenv("PLANGATE_MODEL_CIRCUIT_OPEN_SECONDS", "30")
    await house.add_planner(model_max_reply_bytes=2_048, model_max_connections=1)
    planner = house.planner(number=1)
    house.model.script(says(draft(("read_status", {"service": "w" * 3_000}))))
    with pytest.raises(PlanInvalid) as invalid:
        await planner.create_plan(asking("look"))
    assert [attempt.outcome for attempt in invalid.value.generation.attempts] == [plan_pb2.ATTEMPT_OUTCOME_TOO_LARGE]
    gate = asyncio.Event()
    house.model.default = says(draft(("read_status", {"service": "web"})), gate=gate)
    calls = [asyncio.create_task(planner.create_plan(asking(f"look {number}"))) for number in range(2)]
    await house.model.until(lambda: house.model.in_flight == 1)
    assert len(house.model.requests) == 2, "the second waits for the only connection"
    gate.set()
    await asyncio.gather(*calls)
    house.model.default = fails(503)
    for number in range(2):
        with pytest.raises(ProviderUnavailable) as away:
            await planner.create_plan(asking(f"look away {number}"))
        assert 20 < (away.value.retry_after_seconds or 0) <= 30
    assert len(house.model.requests) == 4, "one outage was enough"


@pytest.mark.asyncio
async def test_cancelling_the_call_stops_the_model_call(house: PlannerHouse) -> None:
    house.model.default = hangs()
    planner = house.planner()
    call = planner._stub.CreatePlan(asking("look"))
    await house.model.until(lambda: house.model.in_flight == 1)
    call.cancel()
    await house.model.until(lambda: house.model.in_flight == 0)
    assert house.model.disconnects == 1


@pytest.mark.asyncio
async def test_plans_in_flight_are_bounded(house: PlannerHouse) -> None:
    await house.add_planner(max_plans_in_flight=2)
    house.model.default = hangs()
    planner = house.planner(number=1)
    calls = [planner._stub.CreatePlan(asking(f"look {number}")) for number in range(2)]
    await house.model.until(lambda: house.model.in_flight == 2)
    with pytest.raises(Overloaded) as caught:
        await planner.create_plan(asking("one more"))
    assert caught.value.retry_after_seconds
    assert caught.value.metadata["limit"] == "2"
    for call in calls:
        call.cancel()
    await house.model.until(lambda: house.model.in_flight == 0)


@pytest.mark.asyncio
async def test_actions_are_listed_page_by_page(house: PlannerHouse) -> None:
    planner = house.planner()
    actions = await planner.list_actions()
    assert [action.name for action in actions] == ["drop_database", "read_status", "refund_order", "restart_service"]
    page = await planner._stub.ListActions(planner_pb2.ListActionsRequest(page_size=3))
    assert [action.name for action in page.actions] == ["drop_database", "read_status", "refund_order"]
    rest = await planner._stub.ListActions(planner_pb2.ListActionsRequest(page_token=page.next_page_token))
    assert [action.name for action in rest.actions] == ["restart_service"]
    assert rest.next_page_token == ""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await planner._stub.ListActions(planner_pb2.ListActionsRequest(page_token="b3RoZXI="))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    action = await planner.get_action("read_status")
    assert action.parameters["additionalProperties"] is False
    with pytest.raises(PlangateError) as missing:
        await planner.get_action("format_disk")
    assert missing.value.reason == "ACTION_NOT_FOUND"


@pytest.mark.asyncio
async def test_a_model_is_asked_which_steps_need_which(house: PlannerHouse) -> None:
    steps = draft(
        ("read_status", {"service": "web"}), ("restart_service", {"service": "web"}), ("read_status", {"service": "db"})
    )
    steps["jobs"][1]["depends_on"] = [0]
    house.model.script(says(json.dumps(steps)))
    plan = await house.planner().create_plan(
        asking("look at web, restart it after that, look at db", order=plan_pb2.STEP_ORDER_INDEPENDENT)
    )
    assert [(list(each.depends_on), each.on_refusal) for each in plan.jobs] == [
        ([], plan_pb2.ON_REFUSAL_UNSPECIFIED),
        (["job_1"], plan_pb2.ON_REFUSAL_CANCEL),
        ([], plan_pb2.ON_REFUSAL_UNSPECIFIED),
    ]
    [request] = house.model.requests
    assert '"depends_on": [0]' in request.body["messages"][0]["content"]
    assert "depends_on" in json.dumps({name: value for name, value in request.body.items() if name != "messages"})
    # Without an order in the request, what is not needed keeps its place.
    house.model.script(says(json.dumps(steps)))
    ordered = await house.planner().create_plan(asking("look at web, restart it after that, and look at db"))
    assert [(list(each.depends_on), each.on_refusal) for each in ordered.jobs[1:]] == [
        (["job_1"], plan_pb2.ON_REFUSAL_CANCEL),
        (["job_2"], plan_pb2.ON_REFUSAL_ASK),
    ]
