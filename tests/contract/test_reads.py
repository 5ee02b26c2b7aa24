"""Listing, filtering, paging and counting over gRPC, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from google.rpc import error_details_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.manual_clock import ManualClock
from tests.support.served_store import Client, RunningStore, failure_of, job, planned, running_store

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def listed(client: Client, filter_: str = "", **options: object) -> list[str]:
    request = rpc.ListProposalsRequest(filter=filter_, **options)  # type: ignore[arg-type]
    return [proposal.action_name for proposal in (await client.proposals.ListProposals(request)).proposals]


async def pages(client: Client, request: rpc.ListProposalsRequest) -> list[list[str]]:
    found: list[list[str]] = []
    while True:
        page = await client.proposals.ListProposals(request)
        found.append([proposal.action_name for proposal in page.proposals])
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def filled(store: RunningStore, clock: ManualClock) -> list[proposal_pb2.Proposal]:
    """a, b, c, d: one second apart; b is APPROVED, d is a DRAFT."""
    made = []
    for number, name in enumerate("abcd"):
        clock.advance(1)
        made.append(
            await store.planner.propose(
                name,
                submit=name != "d",
                priority=number % 2,
                labels={"team": "ops", "cost.centre": str(number)} if number < 2 else {},
                reviewer_role="sre" if name == "c" else "",
            )
        )
    made[1] = await store.alice.approve(made[1])
    return made


@pytest.mark.asyncio
async def test_filters(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        made = await filled(store, clock)
        expectations: Sequence[tuple[str, list[str]]] = (
            ("", ["d", "c", "b", "a"]),
            ("state = PENDING", ["c", "a"]),
            ("state = PROPOSAL_STATE_DRAFT", ["d"]),
            ("state != PENDING", ["d", "b"]),
            ("NOT state = PENDING", ["d", "b"]),
            ("state = PENDING AND priority = 0 OR action_name = b", ["c", "a"]),
            ("(state = PENDING AND priority = 0) OR action_name = b", ["c", "b", "a"]),
            ('labels.team = "ops"', ["b", "a"]),
            ('labels.team = ""', ["d", "c"]),
            ('labels."cost.centre" = 1', ["b"]),
            ("labels.team != ops", ["d", "c"]),
            ("priority >= 1 AND priority < 2", ["d", "b"]),
            ("priority > -9223372036854775808 AND attempt < 9223372036854775807", ["d", "c", "b", "a"]),
            ("action_name > b", ["d", "c"]),
            ("action_name >= b AND action_name <= c", ["c", "b"]),
            ("create_time > 2026-01-01T00:00:02Z", ["d", "c"]),
            ("create_time <= '2026-01-01T02:00:02+02:00'", ["b", "a"]),
            (f"id = {made[2].id}", ["c"]),
            ("created_by = planner AND updated_by = alice", ["b"]),
            ("reviewer_role = sre", ["c"]),
            ('plan_id = ""', ["d", "c", "b", "a"]),
            ("attempt > 0", []),
            ('action_name = "\'; DROP TABLE proposals; --"', []),
        )
        for text, expected in expectations:
            assert await listed(store.alice, text) == expected, text
            count = await store.alice.proposals.CountProposals(rpc.CountProposalsRequest(filter=text))
            assert count.total == len(expected), text
        count = await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())
        assert {entry.state: entry.count for entry in count.counts} == {
            proposal_pb2.PROPOSAL_STATE_DRAFT: 1,
            proposal_pb2.PROPOSAL_STATE_PENDING: 2,
            proposal_pb2.PROPOSAL_STATE_APPROVED: 1,
        }


@pytest.mark.asyncio
async def test_a_bad_filter_says_where(database_url: str) -> None:
    async with running_store(database_url) as store:
        bad = "state = PENDING AND nope = 1"
        for call in (
            store.alice.proposals.ListProposals(rpc.ListProposalsRequest(filter=bad)),
            store.alice.proposals.CountProposals(rpc.CountProposalsRequest(filter=bad)),
            store.alice.plans.ListPlans(rpc.ListPlansRequest(filter="state = QUEUED AND nope = 1")),
        ):
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (INVALID, "INVALID_FILTER")
            assert failure.metadata == {"position": failure.message.split()[3].rstrip(":")}
            detail = failure.detail(error_details_pb2.BadRequest)
            assert detail is not None
            assert detail.field_violations[0].field == "filter"


@pytest.mark.asyncio
@pytest.mark.parametrize("character", ["x", "\u00e9", "\N{GRINNING FACE}", "\x7f"])
async def test_a_long_bad_filter_is_told_so_in_full(sqlite_url: str, character: str) -> None:
    """The answer quotes it, and its metadata must stay within what clients take."""
    async with running_store(sqlite_url) as store:
        failure = await failure_of(listed(store.alice, character * 4000))
        assert (failure.code, failure.reason) == (INVALID, "INVALID_FILTER")
        assert failure.metadata == {"position": "0"}


@pytest.mark.asyncio
async def test_orders_and_pages(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        await filled(store, clock)
        for order_by, expected in (
            ("", "dcba"),
            ("create_time", "abcd"),
            ("create_time desc", "dcba"),
            ("update_time desc", "dbca"),
            ("update_time", "acbd"),
            ("priority desc", "dbca"),
            ("priority", "acbd"),
        ):
            whole = await listed(store.alice, order_by=order_by)
            if order_by.startswith("update_time"):
                # b and d changed at the same moment: ids decide.
                assert sorted(whole) == list("abcd")
            else:
                assert "".join(whole) == expected, order_by
            for size in (1, 2, 3, 4):
                request = rpc.ListProposalsRequest(order_by=order_by, page_size=size)
                found = await pages(store.alice, request)
                assert [name for page in found for name in page] == whole, (order_by, size)
                assert all(len(page) <= size for page in found)
        for wrong in ("name", "create_time sideways", "create_time, id"):
            failure = await failure_of(store.alice.proposals.ListProposals(rpc.ListProposalsRequest(order_by=wrong)))
            assert failure.metadata["field"] == "order_by"
        negative = await failure_of(store.alice.proposals.ListProposals(rpc.ListProposalsRequest(page_size=-1)))
        assert negative.metadata["field"] == "page_size"


@pytest.mark.asyncio
async def test_page_tokens_are_bound_to_their_request(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        await filled(store, clock)
        request = rpc.ListProposalsRequest(page_size=2, filter="priority >= 0")
        token = (await store.alice.proposals.ListProposals(request)).next_page_token
        assert token
        for changed in (
            rpc.ListProposalsRequest(page_size=2, page_token=token),
            rpc.ListProposalsRequest(page_size=2, page_token=token, filter="priority >= 1"),
            rpc.ListProposalsRequest(page_size=2, page_token=token, filter="priority >= 0", order_by="priority"),
            rpc.ListProposalsRequest(page_size=2, page_token=token, filter="priority >= 0", show_deleted=True),
            rpc.ListProposalsRequest(page_token="nonsense"),
        ):
            failure = await failure_of(store.alice.proposals.ListProposals(changed))
            assert (failure.code, failure.reason) == (INVALID, "INVALID_PAGE_TOKEN")
        # Another page size is fine.
        request.page_token, request.page_size = token, 1
        assert len((await store.alice.proposals.ListProposals(request)).proposals) == 1


@pytest.mark.asyncio
async def test_pages_stay_right_while_rows_come_change_and_go(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        made = await filled(store, clock)
        request = rpc.ListProposalsRequest(page_size=2)
        first = await store.alice.proposals.ListProposals(request)
        assert [p.action_name for p in first.proposals] == ["d", "c"]
        clock.advance(1)
        await store.planner.propose("new")
        await store.alice.proposals.CancelProposal(rpc.CancelProposalRequest(id=made[2].id))
        await store.planner.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=made[2].id, purge=True))
        await store.alice.approve(made[0])
        request.page_token = first.next_page_token
        second = await store.alice.proposals.ListProposals(request)
        assert [p.action_name for p in second.proposals] == ["b", "a"]
        assert second.next_page_token == ""


@pytest.mark.asyncio
async def test_large_rows_end_a_page_early(database_url: str) -> None:
    async with running_store(database_url) as store:
        for _ in range(5):
            requests = [
                rpc.CreateProposalRequest(proposal={"action_name": "x", "action_args": {"a": "x" * 60_000}})
                for _ in range(16)
            ]
            await store.planner.proposals.BatchCreateProposals(rpc.BatchCreateProposalsRequest(requests=requests))
        request = rpc.ListProposalsRequest(page_size=1000)
        found = await pages(store.alice, request)
        assert len(found) == 2
        assert sum(map(len, found)) == 80


@pytest.mark.asyncio
async def test_plans_are_listed_like_proposals(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        for number in range(3):
            clock.advance(1)
            plan = planned(job("a"), labels={"n": str(number)})
            if number == 2:
                plan = plan_pb2.Plan(state=plan_pb2.PLAN_STATE_QUEUED, prompt="p", priority=3)
            await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))

        async def labels_of(**options: object) -> list[str]:
            answer = await store.alice.plans.ListPlans(rpc.ListPlansRequest(**options))  # type: ignore[arg-type]
            return [plan.labels.get("n", "-") for plan in answer.plans]

        assert await labels_of() == ["-", "1", "0"]
        assert await labels_of(order_by="create_time") == ["0", "1", "-"]
        assert await labels_of(filter="state = QUEUED AND priority > 2") == ["-"]
        assert await labels_of(filter="objective = o AND labels.n = 1") == ["1"]
        request = rpc.ListPlansRequest(page_size=2)
        first = await store.alice.plans.ListPlans(request)
        request.page_token = first.next_page_token
        second = await store.alice.plans.ListPlans(request)
        assert [len(first.plans), len(second.plans), second.next_page_token] == [2, 1, ""]


@pytest.mark.asyncio
async def test_batch_get_keeps_the_order_and_names_what_is_missing(database_url: str) -> None:
    clock = ManualClock()
    async with running_store(database_url, clock=clock) as store:
        made = await filled(store, clock)
        ids = [made[2].id, made[0].id, made[2].id]
        answer = await store.alice.proposals.BatchGetProposals(rpc.BatchGetProposalsRequest(ids=ids))
        assert [p.id for p in answer.proposals] == ids
        failure = await failure_of(
            store.alice.proposals.BatchGetProposals(rpc.BatchGetProposalsRequest(ids=[made[0].id, "nope"]))
        )
        assert (failure.reason, failure.metadata) == ("PROPOSAL_NOT_FOUND", {"id": "nope", "index": "1"})


@pytest.mark.asyncio
async def test_an_id_that_no_database_can_look_for_does_not_disturb_other_reads(database_url: str) -> None:
    async with running_store(database_url) as store:
        made = await store.planner.propose("a")
    # Another one, which does not remember it.
    async with running_store(database_url) as store:
        proposals, plans = store.alice.proposals, store.alice.plans
        wrong = [
            proposals.GetProposal(rpc.GetProposalRequest(id="a\0")),
            plans.GetPlan(rpc.GetPlanRequest(id="a\0")),
            proposals.BatchGetProposals(rpc.BatchGetProposalsRequest(ids=[made.id, "a\0"])),
            proposals.GetProposal(rpc.GetProposalRequest(id="x" * 200)),
        ]
        answers = await asyncio.gather(
            *(store.alice.get(made) for _ in range(3)), *(failure_of(call) for call in wrong)
        )
        assert [answer.id for answer in answers[:3]] == [made.id] * 3
        assert [(failure.code, failure.metadata["field"]) for failure in answers[3:]] == [
            (INVALID, "id"),
            (INVALID, "id"),
            (INVALID, "ids[1]"),
            (INVALID, "id"),
        ]
