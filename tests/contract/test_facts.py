"""What reviewers see before they decide is fetched first, kept with the proposal, and part of what they approve."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import duration_pb2, field_mask_pb2
from google.protobuf.json_format import MessageToDict
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_FACT_BYTES
from tests.support.polling import eventually
from tests.support.served_store import Client, RunningStore, failure_of, planned, running_store

PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
REVIEW = plan_pb2.Decision(effect=plan_pb2.EFFECT_REQUIRE_APPROVAL)
ALLOWED = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW, rule="reads", approval_ttl=duration_pb2.Duration(seconds=60))
LOOK_UP = plan_pb2.Fact(action_name="get_order", action_args={"order_id": "4711"}, decision=ALLOWED)


async def refund(by: Client, *facts: plan_pb2.Fact) -> proposal_pb2.Proposal:
    """A refund whose reviewers are to see these facts."""
    job = plan_pb2.Job(id="a", action_name="refund", action_args={"order_id": "4711"}, decision=REVIEW, facts=facts)
    plan = await by.plans.CreatePlan(
        rpc.CreatePlanRequest(plan=planned(job)), metadata=(("x-plangate-on-behalf-of", "alice"),)
    )
    assert not plan.jobs[0].facts
    return await by.get(plan.jobs[0].proposal_id)


async def complete(store: RunningStore, fetch: proposal_pb2.Proposal, result: dict[str, object]) -> None:
    await store.worker.proposals.CompleteProposal(
        rpc.CompleteProposalRequest(id=fetch.id, attempt=fetch.attempt, result=result)
    )


@pytest.mark.asyncio
async def test_a_yes_is_to_the_facts_too(database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await refund(store.planner, LOOK_UP)
        [fact] = proposal.facts
        assert (proposal.state, fact.HasField("end_time"), fact.HasField("decision")) == (PENDING, False, False)
        failure = await failure_of(store.bob.approve(proposal))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FACTS_OUTSTANDING")
        assert failure.metadata == {"actions": "get_order"}
        [fetch] = await store.worker.claim()
        assert (fetch.id, fetch.fact_for, fetch.action_name) == (fact.proposal_id, proposal.id, "get_order")
        assert (fetch.decision.rule, fetch.created_by, fetch.plan_id) == ("reads", "alice", proposal.plan_id)
        await complete(store, fetch, {"total": 12})
        known = await store.bob.get(proposal)
        assert (known.version, MessageToDict(known.facts[0].result)) == (2, {"total": 12})
        assert (await failure_of(store.bob.approve(proposal))).reason == "VERSION_CONFLICT"
        approved = await store.bob.approve(known)
        assert (approved.state, approved.facts) == (APPROVED, known.facts)
        [claimed] = await store.worker.claim()
        assert claimed.id == proposal.id
        request = rpc.ListEventsRequest(filter=f'entity_id = "{proposal.id}"', view=event_pb2.EVENT_VIEW_FULL)
        events = (await store.alice.events.ListEvents(request)).events
        assert [(event.kind, event.actor) for event in events] == [
            ("proposal.created", "alice"),
            ("proposal.fact_recorded", "worker"),
            ("proposal.approved", "bob"),
            ("proposal.claimed", "worker"),
        ]
        assert (await store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())).valid


@pytest.mark.asyncio
async def test_a_fact_that_cannot_be_fetched_says_why_and_blocks_nothing(database_url: str) -> None:
    async with running_store(database_url, sweep_seconds=0.1) as store:
        no_arguments = plan_pb2.Failure(reason="ARGUMENTS_INVALID", message="order_id is missing")
        brief = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW, approval_ttl=duration_pb2.Duration(seconds=1))
        proposal = await refund(
            store.planner,
            plan_pb2.Fact(action_name="get_customer", decision=REVIEW),
            plan_pb2.Fact(action_name="get_invoice", failure=no_arguments),
            plan_pb2.Fact(action_name="get_large", decision=ALLOWED),
            plan_pb2.Fact(action_name="get_broken", decision=ALLOWED),
            plan_pb2.Fact(action_name="get_late", decision=brief),
        )
        assert [fact.failure.reason for fact in proposal.facts[:2]] == ["NOT_ALLOWED", "ARGUMENTS_INVALID"]
        [large] = await store.worker.claim(action_names=["get_large"])
        await complete(store, large, {"text": "x" * MAX_FACT_BYTES})
        [broken] = await store.worker.claim(action_names=["get_broken"])
        await store.worker.proposals.FailProposal(
            rpc.FailProposalRequest(id=broken.id, attempt=1, failure={"reason": "DOWN", "message": "no shop"})
        )

        async def all_ended() -> proposal_pb2.Proposal | None:
            known = await store.bob.get(proposal)
            return known if all(fact.HasField("end_time") for fact in known.facts) else None

        known = await eventually(all_ended)
        reasons = [fact.failure.reason for fact in known.facts]
        assert reasons == ["NOT_ALLOWED", "ARGUMENTS_INVALID", "TOO_LARGE", "DOWN", "EXPIRED"]
        assert not any(fact.HasField("result") for fact in known.facts)
        assert (await store.bob.approve(known)).state == APPROVED
        assert (await store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())).valid


@pytest.mark.asyncio
async def test_revised_arguments_have_facts_of_their_own(database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await refund(store.planner, LOOK_UP)
        [fetch] = await store.worker.claim()
        other = plan_pb2.Fact(action_name="get_order", action_args={"order_id": "4712"}, decision=ALLOWED)
        update = rpc.UpdateProposalRequest(
            proposal={"id": proposal.id, "action_args": {"order_id": "4712"}, "facts": [other], "decision": REVIEW},
            update_mask=field_mask_pb2.FieldMask(paths=["action_args", "facts", "decision"]),
            expected_version=proposal.version,
        )
        revised = await store.planner.proposals.UpdateProposal(update)
        await complete(store, fetch, {"total": 12})
        assert await store.bob.get(proposal) == revised
        [second] = await store.worker.claim()
        assert second.id == revised.facts[0].proposal_id != fetch.id
        await complete(store, second, {"total": 99})
        known = await store.bob.get(proposal)
        assert MessageToDict(known.facts[0].result) == {"total": 99}
        # Whoever is no planner decides nothing for policy: no facts are fetched for what they write.
        update = rpc.UpdateProposalRequest(
            proposal={"id": proposal.id, "action_args": {"order_id": "4713"}, "facts": [LOOK_UP]},
            update_mask=field_mask_pb2.FieldMask(paths=["action_args", "facts"]),
            expected_version=known.version,
        )
        written = await store.as_("root", "admin").proposals.UpdateProposal(update)
        assert [fact.failure.reason for fact in written.facts] == ["NOT_ALLOWED"]
        update.update_mask.paths.remove("facts")
        update.expected_version = written.version
        assert not (await store.as_("root", "admin").proposals.UpdateProposal(update)).facts
        assert await store.worker.claim() == []


@pytest.mark.asyncio
async def test_the_glass_can_be_broken_without_the_facts(database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await refund(store.planner, LOOK_UP)
        for admin in ("root", "dora"):
            proposal = await store.as_(admin, "admin").proposals.BreakGlass(
                rpc.BreakGlassRequest(id=proposal.id, expected_version=proposal.version, reason="the shop is down")
            )
        assert (proposal.state, proposal.break_glass) == (APPROVED, True)
        claimed = await store.worker.claim(max_proposals=2)
        fetch = next(each for each in claimed if each.fact_for)
        await complete(store, fetch, {"total": 12})
        assert not (await store.bob.get(proposal)).facts[0].HasField("end_time")
        assert len(claimed) == 2
        assert (await store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())).valid
