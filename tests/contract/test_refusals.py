"""Steps fall with each other only when they are tied: over gRPC, on every database."""

from __future__ import annotations

import pytest
from google.protobuf import field_mask_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.served_store import RunningStore, failure_of, planned, running_store

PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
CANCELLED = proposal_pb2.PROPOSAL_STATE_CANCELLED
ALLOW = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW, rule="reads")
REVIEW = plan_pb2.Decision(effect=plan_pb2.EFFECT_REQUIRE_APPROVAL, rule="writes", required_approvals=1)
DENY = plan_pb2.Decision(effect=plan_pb2.EFFECT_DENY, rule="never")


def job(
    id_: str, decision: plan_pb2.Decision, *needs: str, on_refusal: plan_pb2.OnRefusal.ValueType | None = None
) -> plan_pb2.Job:
    return plan_pb2.Job(id=id_, action_name="act", decision=decision, depends_on=needs, on_refusal=on_refusal)


async def stored(store: RunningStore, *jobs: plan_pb2.Job) -> tuple[plan_pb2.Plan, dict[str, proposal_pb2.Proposal]]:
    """The plan, and its proposals by job."""
    plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(*jobs)))
    return plan, {each.id: await store.alice.get(each.proposal_id) for each in plan.jobs if each.proposal_id}


async def reject(store: RunningStore, proposal: proposal_pb2.Proposal, **fields: object) -> proposal_pb2.Proposal:
    request = rpc.RejectProposalRequest(
        **{"id": proposal.id, "expected_version": proposal.version, "reason": "no", **fields}
    )
    return await store.bob.proposals.RejectProposal(request)


@pytest.mark.asyncio
async def test_a_refused_step_asks_about_those_after_it(database_url: str) -> None:
    async with running_store(database_url) as store:
        ask, go_on = plan_pb2.ON_REFUSAL_ASK, plan_pb2.ON_REFUSAL_CONTINUE
        _, made = await stored(
            store,
            job("first", REVIEW),
            job("by_itself", ALLOW, "first", on_refusal=ask),
            job("reviewed", REVIEW, "first", on_refusal=ask),
            job("goes_on", ALLOW, "first", on_refusal=go_on),
            job("tied", ALLOW, "first"),
            job("last", ALLOW, "tied", on_refusal=ask),
        )
        assert await store.worker.claim(max_proposals=10) == []
        agreed = await store.alice.approve(made["reviewed"])
        assert agreed.state == APPROVED
        await reject(store, made["first"])
        now = {name: await store.alice.get(each) for name, each in made.items()}
        for name in ("by_itself", "reviewed", "last"):
            assert (now[name].state, now[name].required_approvals, len(now[name].notices)) == (PENDING, 1, 1), name
        assert now["by_itself"].notices[0].reason == "DEPENDENCY_REJECTED"
        assert now["by_itself"].notices[0].proposal_id == made["first"].id
        assert now["by_itself"].notices[0].message.endswith("run this all the same?")
        assert [each.reviewer for each in now["reviewed"].earlier_approvals] == ["alice"]
        assert list(now["reviewed"].approvals) == []
        assert now["tied"].state == CANCELLED
        assert (now["goes_on"].state, len(now["goes_on"].notices)) == (APPROVED, 1)
        assert [each.job_id for each in await store.worker.claim(max_proposals=10)] == ["goes_on"]
        assert (await store.bob.approve(now["by_itself"])).state == APPROVED
        assert [each.job_id for each in await store.worker.claim(max_proposals=10)] == ["by_itself"]
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.problem) == (True, "")


@pytest.mark.asyncio
async def test_a_denied_step_does_not_take_along_what_is_not_tied_to_it(database_url: str) -> None:
    async with running_store(database_url) as store:
        plan, made = await stored(
            store,
            job("refund", DENY),
            job("unlock", ALLOW, "refund", on_refusal=plan_pb2.ON_REFUSAL_ASK),
            job("tied", ALLOW, "refund"),
        )
        assert [each.will_not_run.reason for each in plan.jobs] == ["", "", "DEPENDENCY_DENIED"]
        assert (made["unlock"].state, made["unlock"].notices[0].reason) == (PENDING, "DEPENDENCY_DENIED")
        assert made["tied"].state == CANCELLED
        await store.bob.approve(made["unlock"])
        assert [each.job_id for each in await store.worker.claim(max_proposals=10)] == ["unlock"]


@pytest.mark.asyncio
async def test_consequences_are_told_before_a_no(database_url: str) -> None:
    async with running_store(database_url) as store:
        _, made = await stored(
            store,
            job("first", REVIEW),
            job("asks", ALLOW, "first", on_refusal=plan_pb2.ON_REFUSAL_ASK),
            job("tied", ALLOW, "first"),
            job("behind", ALLOW, "tied"),
            job("free", ALLOW),
        )
        told = await reject(store, made["first"], validate_only=True)
        assert told.state == proposal_pb2.PROPOSAL_STATE_REJECTED
        assert {each.job_id: each.state for each in told.consequences} == {
            "asks": PENDING,
            "tied": CANCELLED,
            "behind": CANCELLED,
        }
        assert all(each.failure.message or each.notices for each in told.consequences)
        assert await store.alice.get(made["first"]) == made["first"], "nothing changed"
        cancel = rpc.CancelProposalRequest(id=made["tied"].id, reason="no", validate_only=True)
        cancelled = await store.bob.proposals.CancelProposal(cancel)
        assert [each.job_id for each in cancelled.consequences] == ["behind"]
        whole = rpc.CancelPlanRequest(id=made["first"].plan_id, reason="no", validate_only=True)
        [running] = await store.worker.claim()
        previewed = await store.bob.plans.CancelPlan(whole)
        assert previewed.state == plan_pb2.PLAN_STATE_CANCELLED
        assert {each.job_id: (each.state, each.cancel_requested) for each in previewed.consequences} == {
            "first": ("CANCELLED", False),
            "asks": ("CANCELLED", False),
            "tied": ("CANCELLED", False),
            "behind": ("CANCELLED", False),
            "free": ("EXECUTING", True),
        }
        assert (await store.alice.get(running.id)).cancel_requested is False, "nothing changed"
        done = await reject(store, made["first"])
        assert list(done.consequences) == []


@pytest.mark.asyncio
async def test_the_planner_can_untie_steps(database_url: str) -> None:
    async with running_store(database_url) as store:
        _, made = await stored(store, job("a", REVIEW), job("b", REVIEW, "a"), job("c", REVIEW, "b"))

        async def depend(name: str, *needed: str) -> proposal_pb2.Proposal:
            current = await store.alice.get(made[name])
            return await store.planner.proposals.UpdateProposal(
                rpc.UpdateProposalRequest(
                    proposal={"id": current.id, "depends_on": [made[each].id for each in needed]},
                    update_mask=field_mask_pb2.FieldMask(paths=["depends_on"]),
                    expected_version=current.version,
                )
            )

        failure = await failure_of(depend("a", "c"))
        assert failure.metadata == {"field": "proposal.depends_on[0]"}
        assert (await failure_of(depend("a", "a"))).metadata == {"field": "proposal.depends_on[0]"}
        untied = await depend("b")
        assert list(untied.depends_on) == []
        await store.bob.approve(untied)
        assert [each.job_id for each in await store.worker.claim()] == ["b"]
        # The other way round now.
        await depend("a", "c")
        await reject(store, await store.alice.get(made["c"]))
        assert (await store.alice.get(made["a"])).state == CANCELLED
