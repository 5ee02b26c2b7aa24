"""Clients take messages of 4 MiB unless told otherwise: nothing that they cannot read is leased or stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_PLAN_BYTES
from store_service.database.orm import AnyRow, AnySelect
from store_service.database.reader import Reader
from tests.support.served_store import Client, failure_of, job, planned, running_store

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def large_plan(size: int) -> plan_pb2.Plan:
    """About 64 KB of arguments a job."""
    jobs = [job(f"j{number}", action_args={"text": "x" * 65_000}) for number in range(size // 65_000 + 1)]
    plan = planned(*jobs)
    while plan.ByteSize() > size:
        text = plan.jobs[-1].action_args.fields["text"]
        left_over = plan.ByteSize() - size
        text.string_value = text.string_value[:-left_over]
        if not text.string_value:
            del plan.jobs[-1]
    return plan


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each statement that read brought."""
    sizes: list[int] = []
    fetch = Reader._fetch

    async def counted(self: Reader, statement: AnySelect) -> Sequence[AnyRow]:
        rows = await fetch(self, statement)
        sizes.append(sum(len(value) for row in rows for value in row if isinstance(value, bytes)))
        return rows

    monkeypatch.setattr(Reader, "_fetch", counted)
    return sizes


async def create_large_plans(client: Client, count: int) -> list[str]:
    """Of one megabyte each, without proposals. Their ids, oldest first."""
    plan = planned(*(job(f"j{number}", "DENY", action_args={"text": "x" * 62_500}) for number in range(16)))
    return [(await client.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))).id for _ in range(count)]


@pytest.mark.asyncio
async def test_a_watch_of_large_events_reads_one_at_a_time(database_url: str, fetched: list[int]) -> None:
    async with running_store(database_url) as store:
        await store.planner.propose()
        ids = await create_large_plans(store.planner, 6)
    async with running_store(database_url) as store:
        # What was written before the start is read from the database.
        fetched.clear()
        found: list[str] = []
        updates = store.bob.events.WatchEvents(rpc.WatchEventsRequest(start_revision=1, max_events=100))
        async with asyncio.timeout(30):
            while found[-1:] != ids[-1:]:
                update = await updates.read()
                run = list(update.events.events) or ([update.event] if update.HasField("event") else [])
                found += [event.entity_id for event in run if event.kind == "plan.created"]
        assert found == ids
        assert max(fetched) < 1_100_000
        updates.cancel()


@pytest.mark.asyncio
async def test_a_list_of_large_resources_reads_what_its_page_holds(database_url: str, fetched: list[int]) -> None:
    async with running_store(database_url) as store:
        ids = await create_large_plans(store.planner, 10)
        fetched.clear()
        listed: list[str] = []
        request = rpc.ListPlansRequest(page_size=1000)
        while page := await store.bob.plans.ListPlans(request):
            assert len(page.plans) <= 3
            listed += [plan.id for plan in page.plans]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert listed == ids[::-1]
        logged: list[str] = []
        events = rpc.ListEventsRequest(page_size=1000, view=event_pb2.EVENT_VIEW_FULL)
        while log := await store.bob.events.ListEvents(events):
            assert all(event.snapshot and event.hash for event in log.events)
            logged += [event.entity_id for event in log.events]
            events.page_token = log.next_page_token
            if not log.next_page_token:
                break
        assert logged == ids
        assert max(fetched) < 3 * 1024 * 1024


@pytest.mark.asyncio
async def test_a_large_log_is_verified_in_pieces(database_url: str, fetched: list[int]) -> None:
    async with running_store(database_url) as store:
        await create_large_plans(store.planner, 20)
        fetched.clear()
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.events_checked) == (True, 20)
        assert 1_000_000 < max(fetched) < 8_500_000


@pytest.mark.asyncio
async def test_a_resource_is_read_as_it_was_encoded(sqlite_url: str, fetched: list[int]) -> None:
    async with running_store(sqlite_url) as store:
        numbers = planned(job("j", "DENY", action_args={"n": [1] * 10_000}))
        large = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=numbers))
        small = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job("j"))))
        fetched.clear()
        assert await store.bob.plans.GetPlan(rpc.GetPlanRequest(id=small.id)) == small
        assert await store.bob.plans.GetPlan(rpc.GetPlanRequest(id=large.id)) == large
        assert fetched == [small.ByteSize(), large.ByteSize()]


@pytest.mark.asyncio
async def test_a_claim_stops_when_it_has_enough(database_url: str) -> None:
    """30,000 numbers are 60 KB of JSON, and 330 KB as a message."""
    async with running_store(database_url) as store, grpc.aio.insecure_channel(store.target) as channel:
        worker = Client(channel)
        numbers = planned(*(job(f"j{number}", action_args={"n": [0] * 30_000}) for number in range(12)))
        for _ in range(2):
            await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=numbers))
        leased: list[str] = []
        while claimed := await worker.claim(max_proposals=100):
            leased += [proposal.job_id for proposal in claimed]
        assert leased == [f"j{number}" for number in range(12)] * 2


@pytest.mark.asyncio
async def test_a_claim_of_plans_stops_when_it_has_enough(database_url: str) -> None:
    async with running_store(database_url) as store, grpc.aio.insecure_channel(store.target) as channel:
        queued = plan_pb2.Plan(state=plan_pb2.PLAN_STATE_QUEUED, prompt="\u4e2d" * 32_768)
        await asyncio.gather(*(store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=queued)) for _ in range(50)))
        planner = Client(channel)
        metadata = (("x-plangate-actor", "planner"),)
        claimed = 0
        while plans := (await planner.plans.ClaimPlans(rpc.ClaimPlansRequest(max_plans=100), metadata=metadata)).plans:
            claimed += len(plans)
        assert claimed == 50


@pytest.mark.asyncio
async def test_a_plan_that_clients_could_not_read_is_refused(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as store, grpc.aio.insecure_channel(store.target) as channel:
        for size in (4 * 1024 * 1024 - 1024, MAX_PLAN_BYTES + 1):
            failure = await failure_of(store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=large_plan(size))))
            assert (failure.code, failure.metadata) == (INVALID, {"field": "plan"})
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=large_plan(MAX_PLAN_BYTES - 8192)))
        reason = "\u4e2d" * 2000
        await store.bob.plans.CancelPlan(rpc.CancelPlanRequest(id=plan.id, reason=reason))
        reader = Client(channel)
        found = await reader.plans.GetPlan(rpc.GetPlanRequest(id=plan.id))
        assert (found.version, found.failure.message) == (2, reason)
        assert [each.id for each in (await reader.plans.ListPlans(rpc.ListPlansRequest())).plans] == [plan.id]
        request = rpc.ListEventsRequest(filter=f"entity_id = {plan.id}", page_size=1, view=event_pb2.EVENT_VIEW_FULL)
        for version in (1, 2):
            page = await reader.events.ListEvents(request)
            assert [event.version for event in page.events] == [version]
            request.page_token = page.next_page_token


@pytest.mark.asyncio
async def test_what_planning_gives_counts_with_what_was_asked(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as store:
        queued = plan_pb2.Plan(state=plan_pb2.PLAN_STATE_QUEUED, prompt="\u4e2d" * 32_768)
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=queued))
        await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())
        for size, refused in ((MAX_PLAN_BYTES - 65_536, True), (MAX_PLAN_BYTES - 131_072, False)):
            request = rpc.CompletePlanningRequest(id=plan.id, attempt=1, plan=large_plan(size))
            call = store.planner.plans.CompletePlanning(request)
            if refused:
                assert (await failure_of(call)).metadata == {"field": "plan"}
            else:
                assert (await call).state == plan_pb2.PLAN_STATE_PLANNED
