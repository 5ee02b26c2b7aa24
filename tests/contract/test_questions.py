"""Finding proposals and events by arguments, by words, and by whom they wait for, on every database."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.struct_codec import json_to_struct
from tests.support.manual_clock import ManualClock
from tests.support.served_store import Client, RunningStore, failure_of, job, planned, running_store

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def named(client: Client, filter_: str) -> set[str]:
    """The actions of the proposals that fit; counting finds as many."""
    listed = await client.proposals.ListProposals(rpc.ListProposalsRequest(filter=filter_))
    count = await client.proposals.CountProposals(rpc.CountProposalsRequest(filter=filter_))
    assert count.total == len(listed.proposals), filter_
    return {proposal.action_name for proposal in listed.proposals}


async def kinds(client: Client, filter_: str) -> list[str]:
    listed = await client.events.ListEvents(rpc.ListEventsRequest(filter=filter_))
    return [f"{event.kind} by {event.actor}" for event in listed.events]


async def proposed(store: RunningStore, name: str, args: dict[str, Any], **fields: Any) -> proposal_pb2.Proposal:
    return await store.planner.propose(name, action_args=json_to_struct(args), **fields)


@pytest.mark.asyncio
async def test_proposals_are_found_by_their_arguments(database_url: str) -> None:
    async with running_store(database_url) as store:
        await proposed(store, "text", {"order_id": "4711", "note": 'say "x":1, ok'})
        await proposed(store, "number", {"order_id": 4711, "ratio": 0.5, "zoë": "ü\n\u0001😀"})
        await proposed(store, "longer", {"order_id": 47110, "dry": True})
        await proposed(store, "nested", {"order": {"order_id": "4711"}, 'a"b': "c", "none": None})
        await store.planner.propose("bare")
        for text, expected in (
            ("args.order_id = 4711", {"text", "number", "nested"}),
            ('args.order_id = "4711"', {"text", "nested"}),
            ("args.order_id = 4.711e3", {"number"}),
            ("args.order_id != 4711", {"longer", "bare"}),
            ("args.dry = true", {"longer"}),
            ('args.dry = "true"', set()),
            ("args.ratio = 0.50", {"number"}),
            ('args."zoë" = "ü\n\u0001😀"', {"number"}),
            (r'args."a\"b" = c', {"nested"}),
            ("args.b = c", set()),
            # What is inside a text is no argument.
            ("args.x = 1", set()),
            ("action_name = text AND args.order_id = 4711", {"text"}),
        ):
            assert await named(store.alice, text) == expected, text
        refused = await failure_of(named(store.alice, "args.order_id > 4711"))
        assert (refused.code, refused.reason) == (INVALID, "INVALID_FILTER")


@pytest.mark.asyncio
async def test_words_are_looked_for_in_descriptions_and_requests(database_url: str) -> None:
    async with running_store(database_url) as store:
        plan = planned(job("job_1", action_name="of_plan"))
        plan.prompt, plan.objective = "Please REFUND order 4711 (100% of it)", "Money back"
        await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=plan))
        await store.planner.propose("alone", description="refund_it", evidence="the customer's Über-wish")
        for text, expected in (
            ('text:"refund order"', {"of_plan"}),
            ("text:refund", {"of_plan", "alone"}),
            ("text:money", {"of_plan"}),
            ('text : "100%"', {"of_plan"}),
            ("text:d_i", {"alone"}),
            ("text:Über", {"alone"}),
            ("NOT text:refund", set()),
            ("text:refund AND text:customer", {"alone"}),
        ):
            assert await named(store.alice, text) == expected, text
        plans = await store.alice.plans.ListPlans(rpc.ListPlansRequest(filter='text:"BACK"'))
        assert [found.objective for found in plans.plans] == ["Money back"]
        for filter_ in ("text = refund", "action_name:of_plan", "text:"):
            assert (await failure_of(named(store.alice, filter_))).reason == "INVALID_FILTER"


@pytest.mark.asyncio
async def test_the_log_answers_who_approved_the_refund_and_what_it_did(database_url: str) -> None:
    async with running_store(database_url) as store:
        refund = await proposed(store, "refund", {"order_id": "4711"}, labels={"team": "shop"}, description="Refund it")
        await proposed(store, "refund", {"order_id": "4712"})
        await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job("job_1"), labels={"team": "shop"})))
        await store.alice.approve(refund, comment="The customer is right")
        [leased] = await store.worker.claim(action_names=["refund"])
        await store.worker.proposals.CompleteProposal(
            rpc.CompleteProposalRequest(id=leased.id, attempt=1, result=json_to_struct({"paid": 80}))
        )
        history = [
            "proposal.created by planner",
            "proposal.approved by alice",
            "proposal.claimed by worker",
            "proposal.executed by worker",
        ]
        question = "action_name = refund AND args.order_id = 4711"
        assert await kinds(store.bob, question) == history
        assert await kinds(store.bob, "text:REFUND") == history
        assert await kinds(store.bob, "text:customer") == history[1:2]
        assert len(await kinds(store.bob, "labels.team = shop")) == 4 + 2
        assert await kinds(store.bob, "labels.team != shop") == ["proposal.created by planner"]
        assert await kinds(store.bob, 'action_name = ""') == ["plan.created by planner"]
        assert await kinds(store.bob, "action_name != refund AND entity_type = PROPOSAL AND labels.team = ''") == []
        assert (await failure_of(kinds(store.bob, "action_name > a"))).reason == "INVALID_FILTER"

        watch = store.bob.events.WatchEvents(
            rpc.WatchEventsRequest(filter=f"{question} AND labels.team = shop", start_revision=1)
        )
        watched: list[str] = []
        while len(watched) < len(history):
            update = await watch.read()
            if update.HasField("event"):
                watched.append(f"{update.event.kind} by {update.event.actor}")
        assert watched == history
        watch.cancel()
        unwatched = store.bob.events.WatchEvents(rpc.WatchEventsRequest(filter="text:refund"))
        assert (await failure_of(unwatched.read())).reason == "INVALID_FILTER"


@pytest.mark.asyncio
async def test_what_waits_for_the_caller_is_what_they_can_approve(database_url: str) -> None:
    """Whatever is found can be approved, and whatever is not is refused."""
    clock = ManualClock()
    async with running_store(database_url, clock=clock, sweep_seconds=3600) as store:
        alice = store.as_("alice", "finance")
        hostile = store.as_('bob"],["x', "leg\\al")
        made = {
            "anybody": await store.planner.propose("anybody"),
            "finance": await store.planner.propose("finance", reviewer_role="finance"),
            "legal": await store.planner.propose("legal", reviewer_role="leg\\al"),
            "two": await store.planner.propose("two", required_approvals=2),
            "draft": await store.planner.propose("draft", submit=False),
            "expiring": await store.planner.propose(
                "expiring", expire_time={"seconds": int(clock.now().timestamp()) + 5}
            ),
        }
        roles = [plan_pb2.ApprovalRequirement(role=role, count=1) for role in ("finance", "leg\\al")]
        decision = plan_pb2.Decision(effect=plan_pb2.EFFECT_REQUIRE_APPROVAL, approval_requirements=roles)
        made["both"] = await store.planner.propose("both", decision=decision)
        made["revised"] = await store.planner.propose("revised")
        denied = plan_pb2.Decision(effect=plan_pb2.EFFECT_DENY, reason="frozen", rule="rule")
        made["revised"] = await store.planner.proposals.UpdateProposal(
            rpc.UpdateProposalRequest(
                proposal={"id": made["revised"].id, "description": "new"},
                update_mask={"paths": ["description"]},
                expected_version=1,
            ),
            metadata=(("x-plangate-on-behalf-of", "alice"),),
        )
        made["denied"] = await store.planner.propose("denied")
        reconsidered = await store.planner.proposals.ReconsiderProposals(
            rpc.ReconsiderProposalsRequest(
                reconsiderations=[{"id": made["denied"].id, "expected_version": 1, "decision": denied}]
            )
        )
        made["denied"] = reconsidered.proposals[0]
        made["two"] = await alice.approve(made["two"])
        clock.advance(10)
        for client, expected in (
            (alice, {"anybody", "finance", "both"}),
            (hostile, {"anybody", "legal", "both", "two", "revised"}),
            (store.planner, set()),
            (store.as_("other-planner", "planner"), set()),
        ):
            assert await named(client, "waiting_for_me = true") == expected
            assert await named(client, "waiting_for_me = false") == {*made} - expected
            assert await named(client, "waiting_for_me != true AND state = PENDING") == {*made} - expected - {"draft"}
            approvable = set()
            for name, proposal in made.items():
                request = rpc.ApproveProposalRequest(
                    id=proposal.id, expected_version=proposal.version, validate_only=True
                )
                try:
                    await client.proposals.ApproveProposal(request)
                except grpc.aio.AioRpcError:
                    continue
                approvable.add(name)
            assert approvable == expected
