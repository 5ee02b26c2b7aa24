"""Many clients at once over gRPC, on every database: one winner per version, no lease twice, no gap in the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.status import from_rpc_error
from tests.support.served_store import Client, running_store


async def outcome(call: Awaitable[Any]) -> str:
    """ "OK", or the reason of the failure."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return "OK"


@pytest.mark.asyncio
async def test_many_approve_one_version_and_exactly_one_wins_each(database_url: str) -> None:
    reviewers = 12
    async with running_store(database_url) as store:
        proposal = await store.planner.propose(required_approvals=reviewers)
        clients = [store.as_(f"reviewer{number}") for number in range(reviewers)]
        for round_ in range(reviewers):
            waiting = clients[round_:]
            outcomes = await asyncio.gather(*(outcome(client.approve(proposal)) for client in waiting))
            assert Counter(outcomes) == Counter(
                {"OK": 1, "VERSION_CONFLICT": len(waiting) - 1} if len(waiting) > 1 else {"OK": 1}
            )
            winner = outcomes.index("OK")
            clients[round_], clients[round_ + winner] = clients[round_ + winner], clients[round_]
            proposal = await store.bob.get(proposal)
            assert proposal.version == round_ + 2
        assert proposal.state == proposal_pb2.PROPOSAL_STATE_APPROVED
        assert len({approval.reviewer for approval in proposal.approvals}) == reviewers
        events = (await store.bob.events.ListEvents(rpc.ListEventsRequest())).events
        assert [event.version for event in events] == list(range(1, reviewers + 2))


@pytest.mark.asyncio
async def test_nobodys_change_is_lost_when_all_retry(database_url: str) -> None:
    clients_count, changes_each = 8, 5
    async with running_store(database_url) as store:
        proposal = await store.planner.propose()
        conflicts = 0

        async def change(client: Client, name: str) -> None:
            nonlocal conflicts
            for _ in range(changes_each):
                while True:
                    read = await client.get(proposal)
                    update = rpc.UpdateProposalRequest(
                        proposal={"id": proposal.id, "evidence": f"{read.evidence}{name}"},
                        update_mask=field_mask_pb2.FieldMask(paths=["evidence"]),
                        expected_version=read.version,
                    )
                    if await outcome(client.proposals.UpdateProposal(update)) == "OK":
                        break
                    conflicts += 1

        names = "abcdefgh"[:clients_count]
        await asyncio.gather(*(change(store.as_(f"planner-{name}", "planner"), name) for name in names))
        final = await store.bob.get(proposal)
        assert Counter(final.evidence) == Counter(dict.fromkeys(names, changes_each))
        assert final.version == clients_count * changes_each + 1


@pytest.mark.asyncio
async def test_no_proposal_is_leased_twice_and_none_is_forgotten(database_url: str) -> None:
    async with running_store(database_url) as store:
        for _ in range(3):
            requests = [rpc.CreateProposalRequest(proposal={"action_name": "a"}, submit=True)] * 40
            created = await store.planner.proposals.BatchCreateProposals(
                rpc.BatchCreateProposalsRequest(requests=requests)
            )
            approvals = [rpc.ApproveProposalRequest(id=p.id, expected_version=1) for p in created.proposals]
            await store.alice.proposals.BatchApproveProposals(rpc.BatchApproveProposalsRequest(requests=approvals))

        async def work(client: Client) -> list[str]:
            done: list[str] = []
            while claimed := await client.claim(max_proposals=3):
                for proposal in claimed:
                    complete = rpc.CompleteProposalRequest(id=proposal.id, attempt=proposal.attempt)
                    await client.proposals.CompleteProposal(complete)
                    done.append(proposal.id)
            return done

        worked = await asyncio.gather(*(work(store.as_(f"worker{number}")) for number in range(8)))
        every = [proposal_id for done in worked for proposal_id in done]
        assert len(every) == len(set(every)) == 120
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.events_checked) == (True, 480)


@pytest.mark.asyncio
async def test_one_request_id_at_once_from_many_places_is_one_change(database_url: str) -> None:
    async with running_store(database_url) as store:
        request_id = "7d9f1e0a-3c55-4a0e-9d0c-0f6a1b2c3d4e"
        made = await asyncio.gather(*(store.planner.propose(request_id=request_id) for _ in range(20)))
        assert len({proposal.SerializeToString(deterministic=True) for proposal in made}) == 1
        assert (await store.bob.proposals.CountProposals(rpc.CountProposalsRequest())).total == 1


@pytest.mark.asyncio
async def test_two_stores_on_one_postgresql_database(postgres_url: str) -> None:
    async with running_store(postgres_url) as first, running_store(postgres_url) as second:
        watch = second.bob.events.WatchEvents(rpc.WatchEventsRequest())
        assert (await watch.read()).HasField("progress")
        waiting = asyncio.ensure_future(second.worker.claim(wait_duration={"seconds": 20}))
        proposal = await first.planner.propose()
        assert await second.bob.get(proposal) == proposal
        reviewers = [store.as_(f"r{n}").approve(proposal) for n in range(8) for store in (first, second)]
        outcomes = Counter(await asyncio.gather(*map(outcome, reviewers)))
        # A reviewer who asked both servers may hear of the first's success at the second.
        assert outcomes["OK"] == 1
        assert set(outcomes) <= {"OK", "VERSION_CONFLICT", "ILLEGAL_TRANSITION"}
        async with asyncio.timeout(10):
            [claimed] = await waiting
            assert claimed.id == proposal.id
            kinds = []
            while len(kinds) < 3:
                update = await watch.read()
                if update.HasField("event"):
                    kinds.append(update.event.kind)
        assert kinds == ["proposal.created", "proposal.approved", "proposal.claimed"]
        watch.cancel()

        async def create_and_approve(number: int) -> None:
            store, other = (first, second) if number % 2 else (second, first)
            created = await store.planner.propose(f"a{number}")
            await other.alice.approve(created)

        await asyncio.gather(*(create_and_approve(number) for number in range(30)))

        async def work(client: Client) -> list[str]:
            done: list[str] = []
            while claimed := await client.claim(max_proposals=2):
                done.extend(proposal.id for proposal in claimed)
            return done

        worked = await asyncio.gather(work(first.worker), work(second.worker), work(first.alice), work(second.alice))
        every = [proposal_id for done in worked for proposal_id in done]
        assert len(every) == len(set(every)) == 30
        for store in (first, second):
            assert (await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())).valid
