"""Who may read and execute what, over gRPC on every database: each RPC that reads, for each kind of scope."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from plangate.store.v1 import event_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from store_service.api.permissions import PERMISSIONS
from tests.support.served_store import Client, RunningStore, failure_of, job, planned, running_store

CALLERS: Mapping[str, list[str]] = {
    "planner": ["planner"],
    "auditor": ["reviewer", "executor"],
    "shop": ["shop", "reviewer"],
    "bob": [],
    "runner": ["executor"],
    "stranger": ["reviewer", "executor", "admin"],
}
SCOPES = [
    {"identities": ["auditor"], "reads": "all", "executes": "all"},
    {"roles": ["shop"], "reads": {"labels": {"team": "shop"}}},
    {"identities": ["runner"], "executes": {"labels": {"team": "infra"}, "actions": ["restart", "fl.*"]}},
]
ALL = {"alice's", "bob's", "bare"}
# What each reads of proposals, and of plans.
IN_SCOPE: Mapping[str, tuple[set[str], set[str]]] = {
    "auditor": (ALL, {"alice's", "bob's"}),
    "shop": ({"alice's"}, {"alice's"}),
    "bob": ({"bob's"}, {"bob's"}),
    "runner": ({"bob's"}, set()),
    "stranger": (set(), set()),
}


@dataclass
class Stored:
    """Names by id."""

    plans: dict[str, str]
    proposals: dict[str, str]


@asynccontextmanager
async def limited_store(
    database_url: str, directory: Path, scopes: list[Any] = SCOPES
) -> AsyncIterator[tuple[RunningStore, dict[str, Client]]]:
    tokens = [
        {"sha256": hashlib.sha256(name.encode()).hexdigest(), "identity": name, "roles": roles}
        for name, roles in CALLERS.items()
    ]
    file = directory / "tokens.yaml"
    file.write_text(yaml.safe_dump({"tokens": tokens, "scopes": scopes}))
    async with running_store(database_url, auth_tokens_file=file) as store:
        clients = {name: Client(open_channel(store.target, ChannelSettings(), token=name)) for name in CALLERS}
        try:
            yield store, clients
        finally:
            for client in clients.values():
                await client.channel.close()


async def filled(planner: Client) -> Stored:
    """A plan of alice for the shop, one of bob for infra, and a proposal without labels."""
    stored = Stored({}, {})
    for requester, team, action in (("alice", "shop", "refund"), ("bob", "infra", "restart")):
        plan = await planner.plans.CreatePlan(
            rpc.CreatePlanRequest(
                plan=planned(job("job_1", "REQUIRE_APPROVAL", action_name=action), labels={"team": team})
            ),
            metadata=(("x-plangate-on-behalf-of", requester),),
        )
        stored.plans[plan.id] = stored.proposals[plan.jobs[0].proposal_id] = f"{requester}'s"
    stored.proposals[(await planner.propose("refund")).id] = "bare"
    return stored


Seen = tuple[set[str], set[str]]
"""Names of proposals and of plans."""


async def is_there(call: Awaitable[Any]) -> bool:
    """Whether it is answered. What cannot be read is answered as what does not exist."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


async def get_plan(client: Client, stored: Stored) -> Seen:
    get = client.plans.GetPlan
    return set(), {name for id_, name in stored.plans.items() if await is_there(get(rpc.GetPlanRequest(id=id_)))}


async def list_plans(client: Client, stored: Stored) -> Seen:
    found, request = set(), rpc.ListPlansRequest(page_size=1)
    while True:
        page = await client.plans.ListPlans(request)
        found |= {stored.plans[plan.id] for plan in page.plans}
        if not page.next_page_token:
            return set(), found
        request.page_token = page.next_page_token


async def get_proposal(client: Client, stored: Stored) -> Seen:
    return {name for id_, name in stored.proposals.items() if await is_there(client.get(id_))}, set()


async def batch_get(client: Client, stored: Stored) -> Seen:
    get = client.proposals.BatchGetProposals
    found = {
        name for id_, name in stored.proposals.items() if await is_there(get(rpc.BatchGetProposalsRequest(ids=[id_])))
    }
    assert await is_there(get(rpc.BatchGetProposalsRequest(ids=[*stored.proposals]))) is (found == ALL)
    return found, set()


async def list_proposals(client: Client, stored: Stored) -> Seen:
    found, request = (
        set(),
        rpc.ListProposalsRequest(page_size=1, filter="id != x OR id = x"),
    )
    while True:
        page = await client.proposals.ListProposals(request)
        found |= {stored.proposals[proposal.id] for proposal in page.proposals}
        if not page.next_page_token:
            return found, set()
        request.page_token = page.next_page_token


async def count(client: Client, stored: Stored) -> Seen:
    found = set()
    total = (await client.proposals.CountProposals(rpc.CountProposalsRequest())).total
    for id_, name in stored.proposals.items():
        counted = await client.proposals.CountProposals(rpc.CountProposalsRequest(filter=f"id = {id_}"))
        found |= {name} if counted.total else set()
    assert total == len(found)
    return found, set()


def _named(events: list[event_pb2.Event], stored: Stored) -> Seen:
    proposals = {stored.proposals[event.entity_id] for event in events if event.entity_id in stored.proposals}
    return proposals, {stored.plans[event.entity_id] for event in events if event.entity_id in stored.plans}


async def list_events(client: Client, stored: Stored) -> Seen:
    events: list[event_pb2.Event] = []
    request = rpc.ListEventsRequest(page_size=1, order_by="revision desc")
    while True:
        page = await client.events.ListEvents(request)
        events += page.events
        if not page.next_page_token:
            return _named(events, stored)
        request.page_token = page.next_page_token


async def watch(client: Client, stored: Stored) -> Seen:
    """From the beginning up to the mark that all was seen."""
    events: list[event_pb2.Event] = []
    call = client.events.WatchEvents(
        rpc.WatchEventsRequest(start_revision=1, progress_interval={"nanos": 100_000_000}, max_events=10)
    )
    async with asyncio.timeout(20):
        while True:
            update = await call.read()
            events += [update.event] if update.HasField("event") else update.events.events
            if update.progress.revision >= len(stored.plans) + len(stored.proposals):
                call.cancel()
                return _named(events, stored)


READS: Mapping[str, Callable[[Client, Stored], Awaitable[Seen]]] = {
    "GetPlan": get_plan,
    "ListPlans": list_plans,
    "GetProposal": get_proposal,
    "BatchGetProposals": batch_get,
    "ListProposals": list_proposals,
    "CountProposals": count,
    "ListEvents": list_events,
    "WatchEvents": watch,
}


@pytest.mark.asyncio
async def test_each_rpc_that_reads_answers_what_is_in_scope(database_url: str, tmp_path: Path) -> None:
    # These say nothing of a plan or proposal.
    elsewhere = {"WhoAmI", "VerifyEvents", "GetCheckpoint"}
    assert READS.keys() == {name for name, each in PERMISSIONS.items() if each.roles is None} - elsewhere
    async with limited_store(database_url, tmp_path) as (_, clients):
        stored = await filled(clients["planner"])
        for caller, (proposals, plans) in IN_SCOPE.items():
            for name, read in READS.items():
                of_proposals, of_plans = await read(clients[caller], stored)
                assert of_proposals in (proposals, set()), (caller, name)
                assert of_plans in (plans, set()), (caller, name)
                assert of_proposals or "Proposal" not in name or not proposals, (caller, name)
                assert of_plans or "Plan" not in name or not plans, (caller, name)
                if name.endswith("Events"):
                    assert (of_proposals, of_plans) == (proposals, plans), (caller, name)
        waiting = await clients["shop"].proposals.ListProposals(
            rpc.ListProposalsRequest(filter="waiting_for_me = true")
        )
        assert [stored.proposals[proposal.id] for proposal in waiting.proposals] == ["alice's"]


@pytest.mark.asyncio
async def test_a_search_says_nothing_of_a_plan_that_is_out_of_scope(database_url: str, tmp_path: Path) -> None:
    """Of which a step may be in scope."""
    async with limited_store(database_url, tmp_path) as (_, clients):
        plan = planned(job("job_1", action_name="restart"), labels={"team": "infra"})
        plan.objective = "Before the merger"
        await clients["planner"].plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))
        for name, found in (("auditor", 1), ("runner", 0)):
            client = clients[name]
            assert (await client.proposals.ListProposals(rpc.ListProposalsRequest())).proposals
            proposals = await client.proposals.ListProposals(rpc.ListProposalsRequest(filter="text: merger"))
            events = await client.events.ListEvents(
                rpc.ListEventsRequest(filter="text: merger AND entity_type = PROPOSAL")
            )
            assert (len(proposals.proposals), len(events.events)) == (found, found), name


@pytest.mark.asyncio
async def test_writes_answer_as_if_what_is_out_of_scope_were_not_there(database_url: str, tmp_path: Path) -> None:
    async with limited_store(database_url, tmp_path) as (_, clients):
        stored = await filled(clients["planner"])
        stranger = clients["stranger"]
        proposal_id, plan_id = next(iter(stored.proposals)), next(iter(stored.plans))

        def calls(proposal: str, plan: str) -> dict[str, Any]:
            of = {"id": proposal, "expected_version": 1}
            return {
                "UpdateProposal": rpc.UpdateProposalRequest(
                    proposal={"id": proposal}, update_mask={"paths": ["description"]}, expected_version=1
                ),
                "SubmitProposal": rpc.SubmitProposalRequest(**of),
                "ApproveProposal": rpc.ApproveProposalRequest(**of, validate_only=True),
                "BatchApproveProposals": rpc.BatchApproveProposalsRequest(requests=[rpc.ApproveProposalRequest(**of)]),
                "WithdrawApproval": rpc.WithdrawApprovalRequest(**of),
                "RejectProposal": rpc.RejectProposalRequest(**of, reason="no"),
                "CancelProposal": rpc.CancelProposalRequest(**of),
                "DeleteProposal": rpc.DeleteProposalRequest(**of, purge=True),
                "ResolveProposal": rpc.ResolveProposalRequest(**of, resolution=rpc.RESOLUTION_DONE, reason="seen"),
                "BreakGlass": rpc.BreakGlassRequest(**of, reason="fire"),
                "RenewLease": rpc.RenewLeaseRequest(id=proposal, attempt=1),
                "CompleteProposal": rpc.CompleteProposalRequest(id=proposal, attempt=1),
                "FailProposal": rpc.FailProposalRequest(id=proposal, attempt=1, failure={"reason": "NO"}),
                "CancelPlan": rpc.CancelPlanRequest(id=plan),
                "DeletePlan": rpc.DeletePlanRequest(id=plan, purge=True),
            }

        nowhere = "00000000-0000-7000-8000-000000000000"
        missing = calls(nowhere, nowhere)
        for name, request in calls(proposal_id, plan_id).items():
            service = stranger.plans if name.endswith("Plan") else stranger.proposals
            hidden, absent = [await failure_of(getattr(service, name)(each)) for each in (request, missing[name])]
            assert (hidden.code, hidden.reason) == (absent.code, absent.reason), name
            assert hidden.code is grpc.StatusCode.NOT_FOUND, name
            about = plan_id if name.endswith("Plan") else proposal_id
            assert hidden.message.replace(about, nowhere) == absent.message, name
        assert (await clients["auditor"].get(proposal_id)).version == 1


@pytest.mark.asyncio
async def test_limited_executors_claim_what_they_may(database_url: str, tmp_path: Path) -> None:
    async with limited_store(database_url, tmp_path) as (_, clients):
        planner, runner = clients["planner"], clients["runner"]

        async def allowed(action: str, team: str, requester: str = "alice") -> str:
            plan = await planner.plans.CreatePlan(
                rpc.CreatePlanRequest(plan=planned(job("job_1", action_name=action), labels={"team": team})),
                metadata=(("x-plangate-on-behalf-of", requester),),
            )
            return plan.jobs[0].proposal_id

        await allowed("refund", "infra")
        await allowed("restart", "shop", requester="runner")
        assert await runner.claim(max_proposals=10) == []
        assert await runner.claim(action_names=["refund", "restart"], max_proposals=10) == []
        assert await clients["stranger"].claim(max_proposals=10) == []

        waiting = asyncio.create_task(runner.claim(wait_duration={"seconds": 30}, max_proposals=10))
        await allowed("fl.ag", "shop")
        await allowed("FL.ag", "infra")
        mine = await allowed("fl.ag", "infra")
        [leased] = await waiting
        assert leased.id == mine
        events = (await runner.events.ListEvents(rpc.ListEventsRequest())).events
        of_its_own_request = ["plan.created", "proposal.approved_by_policy"]
        assert [event.kind for event in events] == [
            *of_its_own_request,
            "proposal.approved_by_policy",
            "proposal.claimed",
        ]
        done = await runner.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=mine, attempt=1))
        assert done.id == mine
        assert len(await clients["auditor"].claim(max_proposals=10)) == 4


@pytest.mark.asyncio
async def test_without_rows_about_them_reads_and_claims_are_not_limited(sqlite_url: str, tmp_path: Path) -> None:
    async with limited_store(sqlite_url, tmp_path, SCOPES[1:2]) as (_, clients):
        stored = await filled(clients["planner"])
        assert await list_proposals(clients["runner"], stored) == (set(), set())
        proposal = await clients["planner"].propose("restart")
        await clients["shop"].proposals.ListProposals(rpc.ListProposalsRequest())
        assert (await failure_of(clients["stranger"].approve(proposal))).reason == "PROPOSAL_NOT_FOUND"
    async with limited_store(sqlite_url, tmp_path, SCOPES[2:]) as (_, clients):
        assert len((await clients["stranger"].proposals.ListProposals(rpc.ListProposalsRequest())).proposals) == 4
        await clients["stranger"].approve(proposal)
        assert await clients["stranger"].claim() == []
        # It may read it, and not say what came of its execution.
        runner = clients["runner"].proposals
        assert (await clients["runner"].get(proposal)).id == proposal.id
        found = rpc.ResolveProposalRequest(
            id=proposal.id, expected_version=2, resolution=rpc.RESOLUTION_DONE, reason="seen"
        )
        assert (await failure_of(runner.ResolveProposal(found))).reason == "PROPOSAL_NOT_FOUND"
        assert (await failure_of(clients["stranger"].proposals.ResolveProposal(found))).reason == "ILLEGAL_TRANSITION"
