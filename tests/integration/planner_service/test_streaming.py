"""StreamPlan: what is told while the model writes, and that it agrees with the plan in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceStub

from plangate_client.errors import Overloaded, PlanInvalid, WatchTooSlow
from plangate_core.rpc.status import from_rpc_error
from tests.support.model_server import hangs, says
from tests.support.planner_house import PlannerHouse, asking, draft, open_house

LOOK = ("read_status", {"service": "web"})
RESTART = ("restart_service", {"service": "web"})
BAD = ("restart_service", {"service": "NOT OK"})


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path) as house:
        yield house


def kinds(updates: list[planner_pb2.PlanUpdate]) -> list[str]:
    return [str(update.WhichOneof("update")) for update in updates]


def told(updates: list[planner_pb2.PlanUpdate]) -> dict[str, plan_pb2.Job]:
    """The jobs that stand after all retractions."""
    jobs: dict[str, plan_pb2.Job] = {}
    for update in updates:
        if update.HasField("job"):
            assert update.job.id not in jobs
            jobs[update.job.id] = update.job
        elif update.HasField("jobs_retracted"):
            for job_id in update.jobs_retracted.job_ids:
                del jobs[job_id]
    return jobs


def agrees(updates: list[planner_pb2.PlanUpdate]) -> None:
    """What was told is what the plan says, apart from what the store added."""
    plan = updates[-1].plan
    for job in plan.jobs:
        job.ClearField("proposal_id")
        job.decision.ClearField("decided_by")
    assert told(updates) == {job.id: job for job in plan.jobs}


@pytest.mark.asyncio
async def test_jobs_are_told_before_the_model_is_done(house: PlannerHouse) -> None:
    text = json.dumps(draft(LOOK, RESTART))
    gate = asyncio.Event()
    # Held back in the middle of the second job.
    house.model.script(says(text, gate=gate, gate_after=text.index("restart_service") + 4))
    updates: list[planner_pb2.PlanUpdate] = []
    async for update in house.planner().stream_plan(asking("look, then restart web")):
        updates.append(update)
        if update.HasField("job") and update.job.id == "job_1":
            assert not gate.is_set()
            assert update.job.decision.effect == plan_pb2.EFFECT_ALLOW
            assert update.job.action_args["depth"] == 1
            gate.set()
    assert kinds(updates) == ["attempt_started", "job", "job", "attempt_finished", "plan"]
    assert updates[-1].plan.id
    agrees(updates)


@pytest.mark.asyncio
async def test_jobs_of_a_reply_that_fails_are_taken_back(house: PlannerHouse) -> None:
    house.model.script(says(draft(LOOK, BAD)), says(draft(LOOK, RESTART)))
    updates = [update async for update in house.planner().stream_plan(asking("look, then restart web"))]
    assert "jobs_retracted" in kinds(updates)
    finished = [update.attempt_finished for update in updates if update.HasField("attempt_finished")]
    assert [attempt.outcome for attempt in finished] == [
        plan_pb2.ATTEMPT_OUTCOME_INVALID_MEANING,
        plan_pb2.ATTEMPT_OUTCOME_VALID,
    ]
    assert finished[0].errors[0].path == "jobs.1.action_args.service"
    # A job that fails the checks is never told.
    assert all(update.job.action_args["service"] == "web" for update in updates if update.HasField("job"))
    agrees(updates)


@pytest.mark.asyncio
async def test_a_stream_that_fails_ends_with_the_error(house: PlannerHouse) -> None:
    house.model.default = says(draft(LOOK, BAD))
    updates: list[planner_pb2.PlanUpdate] = []

    async def listen() -> None:
        async for update in house.planner().stream_plan(asking("look")):
            updates.append(update)

    with pytest.raises(PlanInvalid):
        await listen()
    assert kinds(updates).count("attempt_finished") >= 2
    assert "plan" not in kinds(updates)
    assert await house.stored_plans() == []


@pytest.mark.asyncio
async def test_a_stream_from_the_cache_and_a_repeated_one(house: PlannerHouse) -> None:
    house.answers(LOOK)
    planner = house.planner()
    await planner.create_plan(asking("look"))
    request = asking("look")
    updates = [update async for update in planner.stream_plan(request)]
    assert kinds(updates) == ["job", "plan"]
    agrees(updates)
    again = [update async for update in planner.stream_plan(request)]
    assert kinds(again) == ["plan"]
    assert again[-1].plan.id == updates[-1].plan.id
    assert len(house.model.requests) == 1


@pytest.mark.asyncio
async def test_one_who_joins_late_hears_what_was_told(house: PlannerHouse) -> None:
    text = json.dumps(draft(LOOK, RESTART))
    gate = asyncio.Event()
    house.model.script(says(text, gate=gate, gate_after=text.index("restart_service") + 4))
    planner = house.planner()

    async def heard(first_job: asyncio.Event) -> list[planner_pb2.PlanUpdate]:
        updates = []
        async for update in planner.stream_plan(asking("look, then restart web")):
            updates.append(update)
            if update.HasField("job"):
                first_job.set()
        return updates

    early_job, late_job = asyncio.Event(), asyncio.Event()
    early = asyncio.create_task(heard(early_job))
    await early_job.wait()
    late = asyncio.create_task(heard(late_job))
    await late_job.wait()
    assert not gate.is_set()
    gate.set()
    for updates in await asyncio.gather(early, late):
        assert kinds(updates) == ["attempt_started", "job", "job", "attempt_finished", "plan"]
        agrees(updates)
    assert len(house.model.requests) == 1


@pytest.mark.asyncio
async def test_leaving_the_stream_stops_the_model_call(house: PlannerHouse) -> None:
    house.model.default = hangs()
    stream = house.planner().stream_plan(asking("look"))
    assert (await anext(stream)).HasField("attempt_started")
    await house.model.until(lambda: house.model.in_flight == 1)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator behind the iterator's type
    await house.model.until(lambda: house.model.in_flight == 0)


@pytest.mark.asyncio
async def test_a_stream_that_is_not_read_ends_and_gives_its_place_back(tmp_path: Path) -> None:
    large = [("read_status", {"service": "w" * 40_000})] * 75  # more than gRPC takes ahead of its reader
    async with open_house(tmp_path, stream_stall_seconds=0.2, max_concurrent_streams=1) as house:
        house.model.default = says(json.dumps(draft(*large)), chunk_size=100_000)
        request = asking("look everywhere")
        async with grpc.aio.insecure_channel(house.planners[0].grpc.address) as channel:
            stream = PlannerServiceStub(channel).StreamPlan(request, metadata=(("x-plangate-actor", "alice"),))
            await anext(aiter(stream))
            async with asyncio.timeout(10):
                while True:
                    try:
                        plan = [update async for update in house.planner().stream_plan(request)][-1].plan
                    except (Overloaded, WatchTooSlow):
                        await asyncio.sleep(0.05)
                    else:
                        break
            assert len(plan.jobs) == 75
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                [_ async for _ in stream]
            assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert from_rpc_error(ended.value).reason == "WATCH_TOO_SLOW"
