"""Nobody gets anything executed alone: tried from the wire, on every database."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

import grpc
import pytest
from google.protobuf import field_mask_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.served_store import RunningStore, failure_of, planned, running_store

PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVENTED = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW, rule="invented", reason="because I say so")


async def kinds_of(store: RunningStore, proposal_id: str) -> list[tuple[str, str]]:
    """Kind and actor of each event of a proposal."""
    request = rpc.ListEventsRequest(filter=f'entity_id = "{proposal_id}"', view=event_pb2.EVENT_VIEW_BASIC)
    listed = await store.alice.events.ListEvents(request)
    return [(event.kind, event.actor) for event in listed.events]


@pytest.mark.asyncio
async def test_a_plan_of_an_admin_waits_for_somebody_else(database_url: str) -> None:
    async with running_store(database_url) as store:
        root = store.as_("root", "admin")
        job = plan_pb2.Job(id="a", action_name="refund", decision=INVENTED)
        plan = await root.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)))
        decision = plan.jobs[0].decision
        assert (decision.effect, decision.rule) == (plan_pb2.EFFECT_REQUIRE_APPROVAL, "")
        assert (decision.decided_by, decision.required_approvals) == ("", 1)
        proposal = await store.alice.get(plan.jobs[0].proposal_id)
        assert (proposal.state, proposal.required_approvals) == (PENDING, 1)
        assert await store.worker.claim() == []
        assert await kinds_of(store, proposal.id) == [("proposal.created", "root")]
        failure = await failure_of(root.approve(proposal))
        assert (failure.code, failure.reason) == (PRECONDITION, "SELF_APPROVAL")
        failure = await failure_of(store.as_("R00T", "admin").approve(proposal))
        assert (failure.code, failure.reason) == (PRECONDITION, "SELF_APPROVAL")
        assert (await store.bob.approve(proposal)).state == APPROVED


@pytest.mark.asyncio
async def test_what_the_planner_writes_is_decided_by_policy_and_says_so(database_url: str) -> None:
    async with running_store(database_url) as store:
        job = plan_pb2.Job(id="a", action_name="refund", decision=INVENTED)
        job.decision.decided_by = "somebody else"
        on_behalf = (("x-plangate-on-behalf-of", "alice"),)
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)), metadata=on_behalf)
        assert plan.jobs[0].decision.decided_by == "planner"
        [claimed] = await store.worker.claim()
        assert (claimed.created_by, claimed.decision.rule) == ("alice", "invented")
        assert (await kinds_of(store, claimed.id))[0] == ("proposal.approved_by_policy", "alice")


@pytest.mark.asyncio
async def test_an_admin_who_completes_another_ones_plan_cannot_approve_it(database_url: str) -> None:
    async with running_store(database_url) as store:
        root = store.as_("root", "admin")
        queued = plan_pb2.Plan(prompt="pay", state=plan_pb2.PLAN_STATE_QUEUED)
        on_behalf = (("x-plangate-on-behalf-of", "alice"),)
        await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=queued), metadata=on_behalf)
        [claimed] = (await root.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans
        job = plan_pb2.Job(id="a", action_name="refund", decision=INVENTED)
        plan = await root.plans.CompletePlanning(
            rpc.CompletePlanningRequest(id=claimed.id, attempt=claimed.attempt, plan=planned(job))
        )
        proposal = await store.alice.get(plan.jobs[0].proposal_id)
        assert (proposal.state, proposal.created_by, proposal.revised_by) == (PENDING, "alice", "root")
        for writer in (root, store.alice):
            assert (await failure_of(writer.approve(proposal))).reason == "SELF_APPROVAL"
        assert await store.worker.claim() == []


@pytest.mark.asyncio
async def test_an_admin_cannot_lower_what_the_review_asks_for(database_url: str) -> None:
    async with running_store(database_url) as store:
        root = store.as_("root", "admin")
        proposal = await store.planner.propose(required_approvals=2, reviewer_role="finance")
        for changes in (
            {"required_approvals": 1},
            {"reviewer_role": ""},
            {"reviewer_role": "friends", "required_approvals": 5},
        ):
            update = rpc.UpdateProposalRequest(
                proposal={"id": proposal.id, **changes},
                update_mask=field_mask_pb2.FieldMask(paths=list(changes)),
                expected_version=proposal.version,
            )
            failure = await failure_of(root.proposals.UpdateProposal(update))
            assert (failure.code, failure.reason) == (PRECONDITION, "REQUIREMENT_LOWERED")
            assert failure.metadata == {"role": "finance"}
        everything = rpc.UpdateProposalRequest(
            proposal={"id": proposal.id, "decision": INVENTED}, expected_version=proposal.version
        )
        assert (await failure_of(root.proposals.UpdateProposal(everything))).reason == "REQUIREMENT_LOWERED"
        assert await store.alice.get(proposal) == proposal
        update = rpc.UpdateProposalRequest(
            proposal={"id": proposal.id, "action_args": {"amount": 9}, "decision": INVENTED},
            update_mask=field_mask_pb2.FieldMask(paths=["action_args", "decision"]),
            expected_version=proposal.version,
        )
        changed = await root.proposals.UpdateProposal(update)
        assert (changed.required_approvals, changed.reviewer_role) == (2, "finance")
        assert (changed.decision.effect, changed.decision.rule) == (plan_pb2.EFFECT_REQUIRE_APPROVAL, "")


@pytest.mark.asyncio
async def test_the_glass_is_broken_by_two_admins_and_everybody_sees_it(database_url: str) -> None:
    async with running_store(database_url) as store:
        root, dora = store.as_("root", "admin"), store.as_("dora", "admin")
        proposal = await store.planner.propose(required_approvals=2, reviewer_role="finance")
        assert [(each.role, each.count) for each in proposal.approvals_missing] == [("finance", 2)]
        request = rpc.BreakGlassRequest(id=proposal.id, expected_version=1, reason="the shop is down")
        failure = await failure_of(store.bob.proposals.BreakGlass(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        unreasoned = rpc.BreakGlassRequest(id=proposal.id, expected_version=1, reason=" ")
        assert (await failure_of(root.proposals.BreakGlass(unreasoned))).metadata == {"field": "reason"}
        once = await root.proposals.BreakGlass(request)
        assert (once.state, once.break_glass, await store.worker.claim()) == (PENDING, False, [])
        request.expected_version = 2
        assert (await failure_of(root.proposals.BreakGlass(request))).reason == "ALREADY_APPROVED"
        twice = await dora.proposals.BreakGlass(request)
        assert (twice.state, twice.break_glass) == (APPROVED, True)
        assert await kinds_of(store, proposal.id) == [
            ("proposal.created", "planner"),
            ("proposal.break_glass_requested", "root"),
            ("proposal.approved_by_break_glass", "dora"),
        ]
        [claimed] = await store.worker.claim()
        assert claimed.break_glass


@pytest.mark.asyncio
async def test_several_roles_must_agree(database_url: str) -> None:
    async with running_store(database_url) as store:
        decision = plan_pb2.Decision(
            effect=plan_pb2.EFFECT_REQUIRE_APPROVAL,
            approval_requirements=[{"role": "finance", "count": 1}, {"role": "legal", "count": 1}],
        )
        job = plan_pb2.Job(id="a", action_name="refund", decision=decision)
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)))
        proposal = await store.alice.get(plan.jobs[0].proposal_id)
        assert (proposal.required_approvals, proposal.reviewer_role) == (2, "")
        assert (await failure_of(store.bob.approve(proposal))).reason == "REVIEWER_ROLE_MISSING"
        once = await store.as_("finn", "finance").approve(proposal)
        assert [(each.role, each.count) for each in once.approvals_missing] == [("legal", 1)]
        failure = await failure_of(store.as_("fay", "finance").approve(once))
        assert (failure.reason, failure.metadata) == ("REVIEWER_ROLE_MISSING", {"role": "legal"})
        done = await store.as_("leo", "legal").approve(once)
        assert (done.state, list(done.approvals_missing)) == (APPROVED, [])
        assert [list(each.roles) for each in done.approvals] == [["finance"], ["legal"]]
        bad = plan_pb2.Job(id="a", action_name="refund", decision=decision)
        bad.decision.approval_requirements[0].role = "legal"
        failure = await failure_of(store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(bad))))
        assert failure.metadata == {"field": "plan.jobs[0].decision.approval_requirements"}


@pytest.mark.asyncio
async def test_one_person_with_every_role_gets_nothing_executed_alone(database_url: str) -> None:
    """Every writing RPC of the store, tried by somebody who is reviewer, executor and admin, under two names."""
    async with running_store(database_url) as store:
        mallory = store.as_("mallory", "admin")
        on_behalf = (("x-plangate-on-behalf-of", "mallory"),)
        job = plan_pb2.Job(id="a", action_name="refund", decision={"effect": plan_pb2.EFFECT_REQUIRE_APPROVAL})
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)), metadata=on_behalf)
        asked_for = await store.bob.get(plan.jobs[0].proposal_id)
        needs_finance = await store.planner.propose(required_approvals=2, reviewer_role="finance")

        async def tried(call: Awaitable[object]) -> None:
            """Whether it is refused or not does not matter; what comes of it does."""
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call

        for decision in (INVENTED, plan_pb2.Decision(effect=plan_pb2.EFFECT_REQUIRE_APPROVAL)):
            own = plan_pb2.Job(id="b", action_name="refund", decision=decision)
            await tried(mallory.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(own))))
            await tried(mallory.propose(decision=decision))
        everything = list((await mallory.proposals.ListProposals(rpc.ListProposalsRequest())).proposals)
        assert {asked_for.id, needs_finance.id} < {each.id for each in everything}
        calls = mallory.proposals
        for _ in range(2):
            for each in everything:
                id_ = each.id
                update = rpc.UpdateProposalRequest(proposal={"id": id_, "decision": INVENTED}, expected_version=1)
                await tried(calls.UpdateProposal(update))
                await tried(calls.SubmitProposal(rpc.SubmitProposalRequest(id=id_)))
                version = (await mallory.get(id_)).version
                await tried(calls.ApproveProposal(rpc.ApproveProposalRequest(id=id_, expected_version=version)))
                version = (await mallory.get(id_)).version
                glass = rpc.BreakGlassRequest(id=id_, expected_version=version, reason="now")
                await tried(calls.BreakGlass(glass))
                version = (await mallory.get(id_)).version
                resolve = rpc.ResolveProposalRequest(
                    id=id_, expected_version=version, resolution=rpc.RESOLUTION_NOT_DONE, retry=True, reason="r"
                )
                await tried(calls.ResolveProposal(resolve))
                await tried(calls.CompleteProposal(rpc.CompleteProposalRequest(id=id_, attempt=0)))
                await tried(calls.FailProposal(rpc.FailProposalRequest(id=id_, not_started=True)))
                reconsider = rpc.ReconsiderProposalsRequest()
                reconsider.reconsiderations.add(id=id_, expected_version=version, decision=INVENTED)
                await tried(calls.ReconsiderProposals(reconsider))
            assert await mallory.claim(max_proposals=100) == []
            # Under a name that looks like the first one.
            calls = store.as_("Mal1ory", "admin").proposals
        states = {each.state for each in (await mallory.proposals.ListProposals(rpc.ListProposalsRequest())).proposals}
        assert states <= {PENDING, proposal_pb2.PROPOSAL_STATE_DRAFT}
