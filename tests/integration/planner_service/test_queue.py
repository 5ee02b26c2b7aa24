"""EnqueuePlan and the kernel loop: many planners, one store, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.store.v1.store_service_pb2_grpc import PlanServiceServicer, add_PlanServiceServicer_to_server

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_client.errors import InvalidField
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import STATUS_DETAILS_KEY, RpcFailure, to_rpc_status
from planner_service.errors import StoreUnavailable
from planner_service.plan import ClaimedPlan, Plan, PlanningEnded, PlanRequest
from planner_service.store_gateway import StoreGateway
from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.lossy_relay import lossy_relay
from tests.support.model_server import fails, hangs, refuses, says
from tests.support.planner_house import PlannerHouse, asking, draft, open_house, struct

LOOK = ("read_status", {"service": "web"})
LOOPING = {"kernel_concurrency": 2, "kernel_lease_seconds": 3.0, "kernel_wait_seconds": 0.5}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    """With a planner that leaves the queue alone: tests add those that work on it."""
    async with open_house(tmp_path) as house:
        house.answers(LOOK)
        yield house


async def plan_that(
    house: PlannerHouse, plan_id: str, holds: Callable[[plan_pb2.Plan], bool], seconds: float = 15
) -> plan_pb2.Plan:
    """The plan once something holds of it."""
    store = house.store()
    async with asyncio.timeout(seconds):
        while not holds(plan := await store.plans.get(plan_id)):  # noqa: ASYNC110 - only the store knows
            await asyncio.sleep(0.02)
    return plan


def in_state(state: plan_pb2.PlanState.ValueType) -> Callable[[plan_pb2.Plan], bool]:
    return lambda plan: plan.state == state


PLANNED = in_state(plan_pb2.PLAN_STATE_PLANNED)
FAILED = in_state(plan_pb2.PLAN_STATE_FAILED)


@pytest.mark.asyncio
async def test_a_queued_request_is_planned_as_create_plan_would(house: PlannerHouse) -> None:
    queued = await house.planner("alice").enqueue_plan(
        asking("look at web", context=struct(n=3), labels={"team": "ops"}, max_attempts=2), priority=9
    )
    assert queued.state == plan_pb2.PLAN_STATE_QUEUED
    assert (queued.created_by, queued.priority, queued.prompt) == ("alice", 9, "look at web")
    assert house.model.requests == []
    await house.add_planner(**LOOPING)
    plan = await plan_that(house, queued.id, PLANNED)
    [job] = plan.jobs
    assert (plan.created_by, plan.labels["team"], plan.context["n"]) == ("alice", "ops", 3)
    assert job.decision.effect == plan_pb2.EFFECT_ALLOW
    assert job.description
    assert plan.generation.attempts[0].outcome == plan_pb2.ATTEMPT_OUTCOME_VALID
    assert (await house.store().proposals.get(job.proposal_id)).created_by == "alice"


@pytest.mark.asyncio
async def test_enqueueing_checks_before_it_stores(house: PlannerHouse) -> None:
    with pytest.raises(InvalidField) as caught:
        await house.planner().enqueue_plan(asking(" "))
    assert caught.value.metadata["field"] == "request.prompt"
    with pytest.raises(InvalidField):
        await house.planner().enqueue_plan(asking("look"), priority=1001)
    checked = await house.planner().enqueue_plan(asking("look", validate_only=True))
    assert (checked.id, checked.state) == ("", plan_pb2.PLAN_STATE_QUEUED)
    assert await house.stored_plans() == []


@pytest.mark.asyncio
async def test_a_provider_that_comes_back_is_asked_again(house: PlannerHouse) -> None:
    house.model.script(fails(503), fails(503), fails(503))
    queued = await house.planner().enqueue_plan(asking("look", max_attempts=3), max_planning_attempts=3)
    await house.add_planner(**LOOPING)
    waiting = await plan_that(house, queued.id, lambda plan: plan.HasField("failure"))
    assert waiting.failure.reason == "PROVIDER_UNAVAILABLE"
    assert len(waiting.generation.attempts) == 3
    planned = await plan_that(house, queued.id, PLANNED)
    assert planned.attempt == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("retry_after", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_provider_that_asks_for_eternity_is_asked_again_the_next_day(
    house: PlannerHouse, retry_after: str
) -> None:
    house.model.default = fails(429, retry_after=retry_after)
    queued = await house.planner().enqueue_plan(asking("look"), max_planning_attempts=3)
    await house.add_planner(**LOOPING)
    waiting = await plan_that(house, queued.id, lambda plan: plan.HasField("failure"))
    assert (waiting.state, waiting.failure.reason) == (plan_pb2.PLAN_STATE_QUEUED, "PROVIDER_RATE_LIMITED")
    assert waiting.not_before_time.seconds - waiting.update_time.seconds == 86_400


@pytest.mark.asyncio
async def test_an_outage_makes_no_dead_letters_of_what_waits(house: PlannerHouse) -> None:
    house.model.default = fails(500)
    plans = [
        await house.planner().enqueue_plan(asking(f"look {n}", max_attempts=1), max_planning_attempts=1)
        for n in range(8)
    ]
    await house.add_planner(**LOOPING, model_circuit_failures=2, model_circuit_open_seconds=0.3)
    await house.model.until(lambda: len(house.model.requests) >= 3)
    house.answers(LOOK)
    # Those that were asked about in the outage spent their attempt; the others waited.
    ended = [await plan_that(house, plan.id, lambda it: PLANNED(it) or FAILED(it), seconds=20) for plan in plans]
    failed = [plan for plan in ended if FAILED(plan)]
    assert 3 <= len(failed) <= 5
    assert {plan.failure.reason for plan in failed} == {"PROVIDER_UNAVAILABLE"}
    assert all(len(plan.generation.attempts) == 1 for plan in ended)


@pytest.mark.asyncio
async def test_what_another_try_cannot_mend_is_a_dead_letter(house: PlannerHouse) -> None:
    house.model.script(refuses())
    refused = await house.planner().enqueue_plan(asking("do harm"))
    await house.add_planner(**LOOPING)
    dead = await plan_that(house, refused.id, FAILED)
    assert (dead.failure.reason, dead.attempt) == ("MODEL_REFUSED", 1)
    house.answers(("restart_service", {}))
    invalid = await house.planner().enqueue_plan(asking("restart"))
    dead = await plan_that(house, invalid.id, FAILED)
    assert dead.failure.reason == "PLAN_INVALID"
    assert dead.generation.attempts[0].errors[0].path == "jobs.0.action_args.service"


@pytest.mark.asyncio
async def test_no_more_is_claimed_than_is_worked_on(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.default = says(json.dumps(draft(LOOK)), gate=gate)
    plans = [await house.planner().enqueue_plan(asking(f"look {number}")) for number in range(5)]
    await house.add_planner(**LOOPING)
    await house.model.until(lambda: house.model.in_flight == 2)
    # The others wait in the store, where other planners find them.
    states = [(await house.store().plans.get(plan.id)).state for plan in plans]
    assert sorted(states) == sorted([plan_pb2.PLAN_STATE_PLANNING] * 2 + [plan_pb2.PLAN_STATE_QUEUED] * 3)
    gate.set()
    for plan in plans:
        await plan_that(house, plan.id, PLANNED)


@pytest.mark.asyncio
async def test_cancelling_a_plan_ends_the_work_on_it(house: PlannerHouse) -> None:
    house.model.default = hangs()
    queued = await house.planner().enqueue_plan(asking("look"))
    await house.add_planner(**LOOPING)
    await house.model.until(lambda: house.model.in_flight == 1)
    await house.store("alice").plans.cancel(queued.id, reason="never mind")
    await house.model.until(lambda: house.model.in_flight == 0)
    assert (await house.store().plans.get(queued.id)).state == plan_pb2.PLAN_STATE_CANCELLED


@pytest.mark.asyncio
async def test_another_planner_takes_over_when_one_dies(house: PlannerHouse) -> None:
    house.model.script(hangs())
    queued = await house.planner().enqueue_plan(asking("look"), max_planning_attempts=5)
    dying = await house.add_planner(**{**LOOPING, "kernel_lease_seconds": 1.0})
    await house.model.until(lambda: house.model.in_flight == 1)
    house.planners.remove(dying)
    # It cannot hand anything back, as after a kill.
    await dying._store_client.close()
    await dying.stop(0)
    await house.add_planner(**LOOPING)
    plan = await plan_that(house, queued.id, PLANNED)
    assert (plan.attempt, plan.returned_attempts) == (2, 0)


@pytest.mark.asyncio
async def test_a_planner_that_is_stopped_gives_back_what_it_could_not_finish(house: PlannerHouse) -> None:
    house.model.script(hangs(), hangs())
    plans = [await house.planner().enqueue_plan(asking(f"look at {n}"), max_planning_attempts=1) for n in range(2)]
    stopped = await house.add_planner(**{**LOOPING, "kernel_lease_seconds": 600.0})
    await house.model.until(lambda: house.model.in_flight == 2)
    house.planners.remove(stopped)
    await stopped.stop(0)
    assert house.model.in_flight == 0
    for plan in plans:
        waiting = await house.store().plans.get(plan.id)
        assert (waiting.state, waiting.failure.reason) == (plan_pb2.PLAN_STATE_QUEUED, "PLANNER_STOPPED")
    await house.add_planner(**LOOPING)
    for plan in plans:
        planned = await plan_that(house, plan.id, PLANNED, seconds=10)
        assert (planned.attempt, planned.returned_attempts, planned.max_attempts) == (2, 1, 1)


@pytest.mark.asyncio
async def test_what_is_leased_to_a_planner_in_the_moment_when_it_stops_is_given_back(house: PlannerHouse) -> None:
    house.answers(LOOK)
    for number in range(15):
        stopped = await house.add_planner(**{**LOOPING, "kernel_lease_seconds": 600.0})
        enqueued = asyncio.create_task(house.planner().enqueue_plan(asking(f"look at {number}")))
        # Now and then just as the store leases it.
        await asyncio.sleep(number / 2_000)
        house.planners.remove(stopped)
        await stopped.stop(0)
        plan = await house.store().plans.get((await enqueued).id)
        assert plan.state in (plan_pb2.PLAN_STATE_QUEUED, plan_pb2.PLAN_STATE_PLANNED)


@pytest.mark.asyncio
async def test_a_long_plan_keeps_its_lease_though_every_other_renewal_is_lost(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.script(says(json.dumps(draft(LOOK)), gate=gate))
    queued = await house.planner().enqueue_plan(asking("look"))
    async with lossy_relay(house.store_server.address, loses="RenewPlanLease") as relay:
        await house.add_planner(**LOOPING, store_target=relay.address)
        first = await plan_that(house, queued.id, lambda plan: plan.HasField("lease"))
        # Somebody who would take it at once.
        await house.add_planner(**LOOPING)
        # Longer than the lease: it was renewed, and nobody else began.
        ends = first.lease.expire_time.ToNanoseconds() + 3_000_000_000
        await plan_that(house, queued.id, lambda plan: plan.lease.expire_time.ToNanoseconds() > ends)
        assert relay.called >= 4
        gate.set()
        assert (await plan_that(house, queued.id, PLANNED)).attempt == 1
        await house.planners.pop(1).stop(0)
    assert len(house.model.requests) == 1


@pytest.mark.asyncio
async def test_many_planners_plan_everything_once(house: PlannerHouse) -> None:
    for _ in range(3):
        await house.add_planner(**LOOPING)
    planner = house.planner()
    queued = await asyncio.gather(*(planner.enqueue_plan(asking(f"look {number}")) for number in range(24)))
    plans = await asyncio.gather(*(plan_that(house, plan.id, PLANNED) for plan in queued))
    assert {plan.attempt for plan in plans} == {1}
    assert len(house.model.requests) == 24


@pytest.mark.asyncio
async def test_a_result_waits_for_a_store_that_restarts(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.script(says(json.dumps(draft(LOOK)), gate=gate))
    queued = await house.planner().enqueue_plan(asking("look"))
    await house.add_planner(**{**LOOPING, "kernel_lease_seconds": 30.0})
    await house.model.until(lambda: house.model.in_flight == 1)
    address = house.store_server.address
    await house.store_server.stop(0)
    gate.set()
    await house.model.until(lambda: house.model.in_flight == 0)
    house.store_server = store_bootstrap.build_server(
        StoreSettings(store_listen=address, database_url=f"sqlite:///{house.directory}/plangate.db")
    )
    await house.store_server.start()
    plan = await plan_that(house, queued.id, PLANNED)
    assert plan.attempt == 1
    assert len(house.model.requests) == 1


class _Strained(PlanServiceServicer):
    """A store that does not take what is handed over to it, for now."""

    def __init__(self, failure: RpcFailure) -> None:
        self.failure = failure

    async def _refuse(self, _: object, context: grpc.aio.ServicerContext[object, object]) -> NoReturn:
        details = (STATUS_DETAILS_KEY, to_rpc_status(self.failure).SerializeToString())
        await context.abort(self.failure.code, self.failure.message, (details,))

    CompletePlanning = FailPlanning = _refuse  # type: ignore[assignment]  # both answer the same


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "reason"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"), (grpc.StatusCode.UNKNOWN, "COMMIT_UNKNOWN")],
)
async def test_a_result_waits_for_a_store_that_is_strained(code: grpc.StatusCode, reason: str) -> None:
    server = grpc.aio.server()
    add_PlanServiceServicer_to_server(_Strained(RpcFailure(code, reason, "not now")), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    claimed = ClaimedPlan(id="x", attempt=1, requester="alice", request=PlanRequest(prompt="look"))
    async with StoreClient(
        open_channel(f"127.0.0.1:{port}", ChannelSettings()), call_policy=CallPolicy(attempts=1)
    ) as client:
        gateway = StoreGateway(client, planner_identity="planner")
        deadline = asyncio.get_running_loop().time() + 5
        with pytest.raises(StoreUnavailable):
            await gateway.complete_planning(claimed, Plan(objective="look"), request_id="", deadline=deadline)
        with pytest.raises(StoreUnavailable):
            await gateway.end_planning(
                claimed, PlanningEnded("X", "x", retryable=True), request_id="", deadline=deadline
            )
    await server.stop(0)


@pytest.mark.asyncio
async def test_stopping_finishes_what_was_claimed(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.script(says(json.dumps(draft(LOOK)), gate=gate))
    queued = await house.planner().enqueue_plan(asking("look"))
    looping = await house.add_planner(**LOOPING)
    await house.model.until(lambda: house.model.in_flight == 1)
    house.planners.remove(looping)
    stopping = asyncio.create_task(looping.stop())
    gate.set()
    await stopping
    assert (await house.store().plans.get(queued.id)).state == plan_pb2.PLAN_STATE_PLANNED
