"""The same request again: after a lost answer, at the same time, from the cache, and while the store is away."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceStub

from plangate_client.errors import RequestIdReused, StoreUnavailable
from plangate_core.rpc.correlation import NEW_REQUEST_KEY
from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.model_server import says
from tests.support.planner_house import PlannerHouse, asking, draft, job, open_house, struct

LOOK = ("read_status", {"service": "web"})
OTHER = ("read_status", {"service": "db"})


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path) as house:
        house.answers(LOOK)
        yield house


def job_bytes(plan: plan_pb2.Plan) -> list[bytes]:
    """The jobs without what the store gave them."""
    jobs = []
    for stored in plan.jobs:
        bare = plan_pb2.Job()
        bare.CopyFrom(stored)
        bare.ClearField("proposal_id")
        jobs.append(bare.SerializeToString(deterministic=True))
    return jobs


@pytest.mark.asyncio
async def test_a_retry_neither_plans_nor_stores_again(house: PlannerHouse) -> None:
    request = asking("look at web", context=struct(a=1.5), labels={"team": "ops"}, max_attempts=2)
    first = await house.planner().create_plan(request)
    # Another planner, so that neither its cache nor its memory helps; a model that answers differently now.
    await house.add_planner()
    house.answers(OTHER)
    again = await house.planner(number=1).create_plan(request)
    assert again == first
    assert len(house.model.requests) == 1
    assert len(await house.stored_plans()) == 1


@pytest.mark.asyncio
async def test_an_id_in_capitals_is_the_same_id(house: PlannerHouse) -> None:
    planner = house.planner()
    request_id = str(uuid.uuid4())
    in_capitals = asking("look at web", request_id=request_id.upper())
    first = await planner.create_plan(in_capitals)
    assert await planner.create_plan(in_capitals) == first
    assert await planner.create_plan(asking("look at web", request_id=request_id)) == first
    with pytest.raises(RequestIdReused):
        await planner.create_plan(asking("look at db", request_id=request_id.upper()))
    assert len(house.model.requests) == 1


@pytest.mark.asyncio
async def test_retries_and_new_requests_at_the_same_time_each_get_their_own(house: PlannerHouse) -> None:
    # So many proposals that the log's events of these requests do not fit on one page.
    house.answers(*[LOOK] * 60)
    requests = [asking(f"look at web {number}") for number in range(3)]
    first = [await house.planner().create_plan(request) for request in requests]
    await house.add_planner()
    house.answers(OTHER)
    planner = house.planner(number=1)
    fresh = [asking(f"look at db {number}") for number in range(3)]
    again = await asyncio.gather(*(planner.create_plan(request) for request in [*requests, *fresh]))
    assert again[:3] == first
    assert [plan.prompt for plan in again[3:]] == [request.prompt for request in fresh]
    assert len(house.model.requests) == 6
    assert len(await house.stored_plans()) == 6


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [LOOK, OTHER])
async def test_a_retry_that_says_it_is_new_gets_the_first_answer_all_the_same(
    house: PlannerHouse, answer: tuple[str, dict[str, str]]
) -> None:
    request = asking("look at web")
    first = await house.planner().create_plan(request)
    await house.add_planner()
    house.answers(answer)
    stub = PlannerServiceStub(house.planner(number=1).channel)
    assert await stub.CreatePlan(request, metadata=((NEW_REQUEST_KEY, "true"),)) == first
    assert len(house.model.requests) == 2
    assert len(await house.stored_plans()) == 1


@pytest.mark.asyncio
async def test_other_content_under_the_same_id_is_refused(house: PlannerHouse) -> None:
    planner = house.planner("alice")
    request = asking("look at web")
    await planner.create_plan(request)
    for changed in (
        asking("look at db", request_id=request.request_id),
        asking("look at web", request_id=request.request_id, labels={"team": "ops"}),
        asking("look at web", request_id=request.request_id, context=struct(a=1)),
        asking("look at web", request_id=request.request_id, max_attempts=5),
    ):
        with pytest.raises(RequestIdReused) as caught:
            await planner.create_plan(changed)
        assert caught.value.metadata["request_id"] == request.request_id
    with pytest.raises(RequestIdReused):
        await planner.enqueue_plan(request)
    with pytest.raises(RequestIdReused):
        await planner.submit_plan("look at web", [job("read_status", service="web")], request_id=request.request_id)
    assert len(await house.stored_plans()) == 1


@pytest.mark.asyncio
async def test_an_id_belongs_to_its_caller(house: PlannerHouse) -> None:
    request = asking("look at web")
    first = await house.planner("alice").create_plan(request)
    odd = house.planner("o'\"brien\\")
    other = await odd.create_plan(request)
    assert (other.created_by, other.id != first.id) == ("o'\"brien\\", True)
    assert await odd.create_plan(request) == other
    assert await house.planner("alice").create_plan(request) == first


@pytest.mark.asyncio
async def test_twins_at_two_planners_store_one_plan(house: PlannerHouse) -> None:
    await house.add_planner()
    gate = asyncio.Event()
    house.model.script(
        says(json.dumps(draft(LOOK)), gate=gate), says(json.dumps(draft(OTHER, objective="Otherwise.")), gate=gate)
    )
    request = asking("look")
    twins = [asyncio.create_task(house.planner(number=number).create_plan(request)) for number in (0, 1)]
    await house.model.until(lambda: house.model.in_flight == 2)
    gate.set()
    first, second = await asyncio.gather(*twins)
    assert first == second
    assert len(await house.stored_plans()) == 1


@pytest.mark.asyncio
async def test_identical_requests_at_the_same_time_share_one_generation(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.default = says(json.dumps(draft(LOOK)), gate=gate)
    planner = house.planner()
    calls = [asyncio.create_task(planner.create_plan(asking("look"))) for _ in range(20)]
    await house.model.until(lambda: house.model.in_flight == 1)
    # One gives up: the others still get their plan.
    calls[0].cancel()
    gate.set()
    plans = await asyncio.gather(*calls[1:])
    assert len(house.model.requests) == 1
    assert len({plan.id for plan in plans}) == 19
    assert len({tuple(job_bytes(plan)) for plan in plans}) == 1


@pytest.mark.asyncio
async def test_who_may_ask_the_model_more_or_longer_shares_no_generation(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.default = says(json.dumps(draft(LOOK)), gate=gate)
    planner = house.planner()
    calls = [
        asyncio.create_task(planner.create_plan(asking("look"), timeout_seconds=20)),
        asyncio.create_task(planner.create_plan(asking("look", max_attempts=5), timeout_seconds=20)),
        asyncio.create_task(planner.create_plan(asking("look", token_budget=9_000), timeout_seconds=20)),
    ]
    await house.model.until(lambda: house.model.in_flight == 3)
    # The first would be cut off long before this one has to be.
    calls.append(asyncio.create_task(planner.create_plan(asking("look"), timeout_seconds=60)))
    await house.model.until(lambda: house.model.in_flight == 4)
    gate.set()
    await asyncio.gather(*calls)


@pytest.mark.asyncio
async def test_the_cache_answers_with_the_same_bytes_and_says_so(house: PlannerHouse) -> None:
    planner = house.planner()
    fresh = await planner.create_plan(asking("look", context=struct(a=[1, "x"])))
    cached = await planner.create_plan(asking("look", context=struct(a=[1, "x"])))
    assert cached.id != fresh.id
    assert (fresh.generation.cached, cached.generation.cached) == (False, True)
    assert [*cached.generation.attempts] == []
    assert cached.generation.model == "openai/test-model"
    assert job_bytes(cached) == job_bytes(fresh)
    assert len(house.model.requests) == 1
    await planner.create_plan(asking("look", context=struct(a=[1, "y"])))
    assert len(house.model.requests) == 2


@pytest.mark.asyncio
async def test_the_cache_on_disk_outlives_the_planner(tmp_path: Path) -> None:
    directory = tmp_path / "drafts"
    async with open_house(tmp_path, draft_cache_dir=directory) as house:
        house.answers(LOOK)
        fresh = await house.planner().create_plan(asking("look"))
        await house.add_planner(draft_cache_dir=directory)
        assert job_bytes(await house.planner(number=1).create_plan(asking("look"))) == job_bytes(fresh)
        assert len(house.model.requests) == 1
        [file] = directory.glob("*.json")
        # What somebody else wrote there is checked like a model's answer: it cannot smuggle in what the schema refuses.
        for text in ("broken", json.dumps({"jobs": 5}), file.read_text().replace('"web"', "5")):
            file.write_text(text)
            await house.add_planner(draft_cache_dir=directory)
            plan = await house.planner(number=len(house.planners) - 1).create_plan(asking("look"))
            assert not plan.generation.cached
            assert job_bytes(plan) == job_bytes(fresh)


@pytest.mark.asyncio
async def test_decisions_are_not_cached(house: PlannerHouse) -> None:
    house.policy_file.write_text("version: 1\nrules: [{name: not-mallory, match: {requester: mallory}, effect: deny}]")
    await house.add_planner()
    allowed = await house.planner("alice", number=1).create_plan(asking("look"))
    denied = await house.planner("mallory", number=1).create_plan(asking("look"))
    assert denied.generation.cached
    assert allowed.jobs[0].decision.effect == plan_pb2.EFFECT_ALLOW
    assert denied.jobs[0].decision.effect == plan_pb2.EFFECT_DENY


@pytest.mark.asyncio
async def test_a_store_that_is_away_loses_nothing(house: PlannerHouse) -> None:
    request = asking("look")
    planner = house.planner()
    address = house.store_server.address
    gate = asyncio.Event()
    house.model.script(says(json.dumps(draft(LOOK)), gate=gate))
    call = asyncio.create_task(planner.create_plan(request))
    await house.model.until(lambda: house.model.in_flight == 1)
    await house.store_server.stop(0)
    gate.set()
    with pytest.raises(StoreUnavailable) as caught:
        await call
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert caught.value.retry_after_seconds
    # While it is away no model is asked in vain.
    with pytest.raises(StoreUnavailable):
        await planner.create_plan(request)
    assert len(house.model.requests) == 1
    house.store_server = store_bootstrap.build_server(
        StoreSettings(store_listen=address, database_url=f"sqlite:///{house.directory}/plangate.db")
    )
    await house.store_server.start()
    plan = await planner.create_plan(request)
    assert plan.generation.cached
    assert len(house.model.requests) == 1
    assert [stored.id for stored in await house.stored_plans()] == [plan.id]


@pytest.mark.asyncio
async def test_brought_plans_and_revisions_may_be_repeated(house: PlannerHouse) -> None:
    planner = house.planner()
    request_id = str(uuid.uuid4())
    jobs = [job("read_status", service="web"), job("restart_service", depends_on=("job_1",), service="web")]
    first = await planner.submit_plan("Do it", jobs, request_id=request_id)
    # Policy changes between call and retry: the first answer stands.
    house.policy_file.write_text("version: 1\nrules: [{name: frozen, effect: deny, reason: frozen}]")
    assert house.planners[0].governance.reload()
    assert await planner.submit_plan("Do it", jobs, request_id=request_id) == first
    with pytest.raises(RequestIdReused):
        await planner.submit_plan("Do it", [*jobs, job("read_status", service="db")], request_id=request_id)
    with pytest.raises(RequestIdReused):
        await planner.submit_plan("Do it", [jobs[0], job("restart_service", service="db")], request_id=request_id)

    house.policy_file.write_text("version: 1\nrules: []")
    assert house.planners[0].governance.reload()
    proposal_id = first.jobs[1].proposal_id
    revision = str(uuid.uuid4())
    revised = await planner.revise_proposal(
        proposal_id, expected_version=1, action_args=struct(service="db"), request_id=revision
    )
    house.policy_file.write_text("version: 1\nrules: [{name: frozen, effect: deny, reason: frozen}]")
    assert house.planners[0].governance.reload()
    again = await planner.revise_proposal(
        proposal_id, expected_version=1, action_args=struct(service="db"), request_id=revision
    )
    assert again == revised
    for other in ({"action_args": struct(service="mail")}, {"priority": 7}, {"description": "Something else."}):
        with pytest.raises(RequestIdReused):
            await planner.revise_proposal(proposal_id, expected_version=1, request_id=revision, **other)


@pytest.mark.asyncio
async def test_enqueueing_may_be_repeated(house: PlannerHouse) -> None:
    planner = house.planner()
    request = asking("look")
    first = await planner.enqueue_plan(request, priority=5)
    assert await planner.enqueue_plan(request, priority=5) == first
    with pytest.raises(RequestIdReused):
        await planner.enqueue_plan(request, priority=6)
    with pytest.raises(RequestIdReused):
        await planner.create_plan(request)
    assert len(await house.stored_plans()) == 1
