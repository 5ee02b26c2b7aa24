"""EvaluatePlan, SubmitPlan and ReviseProposal: jobs that people bring, checked and governed like a model's."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import new_request_id
from plangate_client.client import PlannerClient
from plangate_client.errors import (
    IllegalTransition,
    InvalidField,
    JobInvalid,
    PolicyDenied,
    ProposalNotFound,
    RoleMissing,
    VersionConflict,
)
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.planner_house import CATALOGUE, PlannerHouse, job, open_house, struct


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path) as house:
        yield house


@pytest.mark.asyncio
async def test_evaluating_tells_decisions_and_stores_nothing(house: PlannerHouse) -> None:
    evaluated = await house.planner().evaluate_plan(
        [
            job("read_status", service="web"),
            job("restart_service", depends_on=("job_1",), service="web"),
            job("refund_order", order="A-1", amount=2000),
        ]
    )
    assert [*evaluated.errors] == []
    look, restart, refund = evaluated.jobs
    assert (look.id, look.action_args["depth"]) == ("job_1", 1)
    assert [entry.decision.effect for entry in (look, restart, refund)] == [
        plan_pb2.EFFECT_ALLOW,
        plan_pb2.EFFECT_REQUIRE_APPROVAL,
        plan_pb2.EFFECT_DENY,
    ]
    assert refund.decision.rule == "large-refunds"
    governance = house.planners[0].governance.current
    assert evaluated.catalogue_digest == governance.catalogue.digest
    assert evaluated.policy_digest == governance.policy.digest
    assert await house.stored_plans() == []
    assert house.model.requests == []


@pytest.mark.asyncio
async def test_evaluating_names_everything_that_is_wrong(house: PlannerHouse) -> None:
    evaluated = await house.planner().evaluate_plan(
        [
            job("read_statsu", service="web"),
            job("read_status", service=5.0, depth="3"),
            job("refund_order", "x y", order="A-1", amount=0.0),
            job("read_status", "a", ("b",), service="web"),
            job("read_status", "b", ("a",), service="web"),
            job("read_status", "a", ("gone",), service="web"),
        ]
    )
    assert [*evaluated.jobs] == []
    found = {(error.path, error.type) for error in evaluated.errors}
    assert found == {
        ("jobs.0.action_name", "unknown_action"),
        ("jobs.1.action_args.service", "type"),
        ("jobs.1.action_args.depth", "type"),
        ("jobs.2.id", "pattern"),
        ("jobs.2.action_args.amount", "exclusiveMinimum"),
        ("jobs.5.id", "not_unique"),
        ("jobs.5.depends_on.0", "unknown_job"),
    }
    [unknown] = [error for error in evaluated.errors if error.type == "unknown_action"]
    assert "read_status" in unknown.message
    circle = await house.planner().evaluate_plan(
        [job("read_status", "a", ("b",), service="web"), job("read_status", "b", ("a",), service="web")]
    )
    assert [(error.path, error.message) for error in circle.errors] == [
        ("jobs.0.depends_on", "a waits for b waits for a")
    ]


@pytest.mark.asyncio
async def test_a_brought_plan_is_stored_with_its_proposals(house: PlannerHouse) -> None:
    plan = await house.planner("alice").submit_plan(
        "Restart web",
        [job("restart_service", "one", service="web"), job("read_status", "two", ("one",), service="web")],
        labels={"team": "ops"},
        context=struct(ticket="INC-1"),
    )
    assert plan.state == plan_pb2.PLAN_STATE_PLANNED
    assert (plan.created_by, plan.objective, plan.prompt) == ("alice", "Restart web", "")
    assert [entry.id for entry in plan.jobs] == ["one", "two"]
    assert plan.generation.catalogue_digest
    assert plan.generation.policy_digest
    assert not plan.generation.attempts
    async for proposal in house.store().proposals.list_all(filter=f'plan_id = "{plan.id}"'):
        assert proposal.created_by == "alice"
    first = await house.store().proposals.get(plan.jobs[0].proposal_id)
    assert first.state == proposal_pb2.PROPOSAL_STATE_PENDING
    assert (first.required_approvals, first.reviewer_role) == (2, "sre")


@pytest.mark.asyncio
async def test_a_wrong_brought_plan_is_refused_whole(house: PlannerHouse) -> None:
    with pytest.raises(JobInvalid) as caught:
        await house.planner().submit_plan("Do it", [job("read_status", service="web"), job("format_disk")])
    assert caught.value.metadata["errors"] == "1"
    [violation] = caught.value.failure.details[0].field_violations  # type: ignore[attr-defined]
    assert violation.field == "jobs.1.action_name"
    for objective, jobs in (("", [job("read_status", service="web")]), ("Do it", [])):
        with pytest.raises(InvalidField):
            await house.planner().submit_plan(objective, jobs)
    assert await house.stored_plans() == []


@pytest.mark.asyncio
async def test_validate_only_answers_without_storing(house: PlannerHouse) -> None:
    plan = await house.planner().submit_plan("Look", [job("read_status", service="web")], validate_only=True)
    assert plan.id == ""
    assert plan.jobs[0].decision.effect == plan_pb2.EFFECT_ALLOW
    assert await house.stored_plans() == []


async def proposed(house: PlannerHouse, action_name: str, **args: object) -> proposal_pb2.Proposal:
    plan = await house.planner("alice").submit_plan("Do it", [job(action_name, **args)])
    return await house.store().proposals.get(plan.jobs[0].proposal_id)


@pytest.mark.asyncio
async def test_only_creators_and_reviewers_revise(tmp_path: Path) -> None:
    roles = {"alice": "[]", "mallory": "[executor, sre]", "bob": "[reviewer]"}
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        "tokens:\n"
        + "".join(
            f"  - {{sha256: {hashlib.sha256(name.encode()).hexdigest()}, identity: {name}, roles: {held}}}\n"
            for name, held in roles.items()
        )
    )
    async with open_house(tmp_path, auth_tokens_file=tokens) as house, contextlib.AsyncExitStack() as stack:
        alice, mallory, bob = [
            await stack.enter_async_context(
                PlannerClient(open_channel(house.planners[0].grpc.address, ChannelSettings(), token=name))
            )
            for name in roles
        ]
        plan = await alice.submit_plan("Do it.", [job("restart_service", service="web")])
        identifier = plan.jobs[0].proposal_id
        with pytest.raises(RoleMissing):
            await mallory.revise_proposal(identifier, expected_version=1, action_args=struct(service="db"))
        with pytest.raises(RoleMissing):
            await mallory.revise_proposal(identifier, expected_version=1, priority=1, validate_only=True)
        revised = await alice.revise_proposal(identifier, expected_version=1, action_args=struct(service="db"))
        assert (revised.version, revised.revised_by) == (2, "alice")
        revised = await bob.revise_proposal(identifier, expected_version=2, priority=1)
        assert (revised.version, revised.revised_by) == (3, "bob")


@pytest.mark.asyncio
async def test_a_revision_may_untie_a_step(house: PlannerHouse) -> None:
    plan = await house.planner("alice").submit_plan(
        "Do it.",
        [job("restart_service", "one", service="web"), job("refund_order", "two", ("one",), order="A-1", amount=10)],
    )
    one, two = plan.jobs
    assert two.on_refusal == plan_pb2.ON_REFUSAL_CANCEL
    asking_first = await house.planner("alice").revise_proposal(
        two.proposal_id, expected_version=1, on_refusal=plan_pb2.ON_REFUSAL_ASK
    )
    assert (list(asking_first.depends_on), asking_first.on_refusal) == ([one.proposal_id], plan_pb2.ON_REFUSAL_ASK)
    untied = await house.planner("alice").revise_proposal(two.proposal_id, expected_version=2, depends_on=[])
    assert list(untied.depends_on) == []
    await house.store("bob", ("sre",)).proposals.reject(one.proposal_id, expected_version=1, reason="no")
    assert (await house.store().proposals.get(two.proposal_id)).state == proposal_pb2.PROPOSAL_STATE_PENDING


@pytest.mark.asyncio
async def test_a_revision_is_checked_governed_and_voids_approvals(house: PlannerHouse) -> None:
    proposal = await proposed(house, "refund_order", order="A-1", amount=10)
    assert (proposal.required_approvals, proposal.version) == (1, 1)
    house.policy_file.write_text(
        """
version: 1
rules:
  - {name: two-for-much, match: {action: refund_order}, when: args.amount > 50,
     effect: require_approval, approvals: 2, role: finance, expires_in: 1h}
"""
    )
    assert house.planners[0].governance.reload()
    revised = await house.planner("bob").revise_proposal(
        proposal.id,
        expected_version=1,
        action_args=struct(order="A-1", amount=60.0),
        description="More than that",
        priority=7,
        comment="they are right",
    )
    assert revised.version == 2
    assert revised.action_args["amount"] == 60
    assert (revised.description, revised.priority) == ("More than that", 7)
    assert (revised.required_approvals, revised.reviewer_role) == (2, "finance")
    assert revised.decision.rule == "two-for-much + catalogue:refund_order"
    assert revised.HasField("expire_time")
    assert (revised.created_by, revised.updated_by) == ("alice", "bob")
    assert revised.args_digest != proposal.args_digest
    events = [event async for event in house.store().events.list_all(filter=f'entity_id = "{proposal.id}"')]
    assert (events[-1].actor, events[-1].via, events[-1].comment) == ("bob", "planner", "they are right")


@pytest.mark.asyncio
async def test_a_description_made_of_the_arguments_follows_them(house: PlannerHouse) -> None:
    proposal = await proposed(house, "refund_order", order="A-1", amount=55)
    assert "amount=55" in proposal.description
    alice = house.planner("alice")
    args, request_id = struct(order="A-1", amount=60), new_request_id()
    revised = await alice.revise_proposal(proposal.id, expected_version=1, action_args=args, request_id=request_id)
    assert revised.description == proposal.description.replace("55", "60")
    repeated = await alice.revise_proposal(proposal.id, expected_version=1, action_args=args, request_id=request_id)
    assert repeated == revised
    revised = await alice.revise_proposal(proposal.id, expected_version=2, description="As the customer asked.")
    args = struct(order="A-1", amount=65)
    revised = await alice.revise_proposal(proposal.id, expected_version=3, action_args=args)
    assert revised.description == "As the customer asked."


@pytest.mark.asyncio
async def test_what_was_revised_needs_a_person_also_where_policy_would_allow_it(house: PlannerHouse) -> None:
    house.policy_file.write_text(
        """
version: 1
resolution: first_match
rules:
  - {name: small-change, match: {action: refund_order}, when: args.amount <= 5, effect: allow}
"""
    )
    assert house.planners[0].governance.reload()
    proposal = await proposed(house, "refund_order", order="A-1", amount=10)
    revised = await house.planner("bob").revise_proposal(
        proposal.id, expected_version=1, action_args=struct(order="A-1", amount=5)
    )
    assert revised.decision.effect == plan_pb2.EFFECT_ALLOW
    assert (revised.state, revised.required_approvals) == (proposal_pb2.PROPOSAL_STATE_PENDING, 1)


@pytest.mark.asyncio
async def test_a_revision_that_the_policy_denies_changes_nothing(house: PlannerHouse) -> None:
    proposal = await proposed(house, "refund_order", order="A-1", amount=10)
    planner = house.planner("bob")
    with pytest.raises(PolicyDenied) as caught:
        await planner.revise_proposal(proposal.id, expected_version=1, action_args=struct(order="A-1", amount=5000))
    assert caught.value.metadata["rule"] == "large-refunds"
    with pytest.raises(JobInvalid) as invalid:
        await planner.revise_proposal(proposal.id, expected_version=1, action_args=struct(amount=5))
    [violation] = invalid.value.failure.details[0].field_violations  # type: ignore[attr-defined]
    assert violation.field == "action_args.order"
    assert await house.store().proposals.get(proposal.id) == proposal


@pytest.mark.asyncio
async def test_policy_looks_at_both_who_wanted_it_and_who_edits_it(house: PlannerHouse) -> None:
    proposal = await proposed(house, "refund_order", order="A-1", amount=10)
    for name in ("alice", "bob"):
        house.policy_file.write_text(
            f"version: 1\nrules: [{{name: not-{name}, match: {{requester: {name}}}, effect: deny}}]"
        )
        assert house.planners[0].governance.reload()
        with pytest.raises(PolicyDenied) as caught:
            await house.planner("bob").revise_proposal(
                proposal.id, expected_version=1, action_args=struct(order="A-1", amount=11)
            )
        assert caught.value.metadata["rule"] == f"not-{name}"


@pytest.mark.asyncio
async def test_words_can_be_mended_when_the_action_has_left_the_catalogue(house: PlannerHouse) -> None:
    proposal = await proposed(house, "restart_service", service="web")
    house.catalogue_file.write_text(CATALOGUE.replace("restart_service", "reboot_service"))
    assert house.planners[0].governance.reload()
    planner = house.planner("bob")
    revised = await planner.revise_proposal(
        proposal.id, expected_version=1, action_args=proposal.action_args, description="Better said", priority=3
    )
    assert (revised.description, revised.priority, revised.updated_by) == ("Better said", 3, "bob")
    assert (revised.decision, revised.required_approvals, revised.reviewer_role) == (proposal.decision, 2, "sre")
    assert revised.args_digest == proposal.args_digest
    with pytest.raises(JobInvalid):
        await planner.revise_proposal(proposal.id, expected_version=2, action_args=struct(service="db"))


@pytest.mark.asyncio
async def test_words_can_be_mended_when_the_arguments_fit_the_catalogue_no_more(house: PlannerHouse) -> None:
    proposal = await proposed(house, "restart_service", service="web")
    house.catalogue_file.write_text(CATALOGUE.replace("^[a-z][a-z0-9-]*$", "^db-[a-z0-9]*$"))
    assert house.planners[0].governance.reload()
    planner = house.planner("bob")
    revised = await planner.revise_proposal(proposal.id, expected_version=1, description="Better said")
    assert revised.description == "Better said"
    # Policy is asked about whoever edits, whatever is edited.
    house.policy_file.write_text("version: 1\nrules: [{name: not-carol, match: {requester: carol}, effect: deny}]")
    assert house.planners[0].governance.reload()
    with pytest.raises(PolicyDenied):
        await house.planner("carol").revise_proposal(proposal.id, expected_version=2, description="Better still")


@pytest.mark.asyncio
async def test_the_stores_refusals_reach_the_editor(house: PlannerHouse) -> None:
    planner = house.planner("bob")
    proposal = await proposed(house, "refund_order", order="A-1", amount=10)
    args = struct(order="A-1", amount=11)
    with pytest.raises(VersionConflict) as conflict:
        await planner.revise_proposal(proposal.id, expected_version=7, action_args=args)
    assert (conflict.value.expected_version, conflict.value.current_version) == (7, 1)
    with pytest.raises(ProposalNotFound):
        await planner.revise_proposal("0197a0aa-0000-7000-8000-000000000000", expected_version=1, action_args=args)
    with pytest.raises(InvalidField):
        await planner.revise_proposal(proposal.id, expected_version=0, action_args=args)
    dry = await planner.revise_proposal(proposal.id, expected_version=1, action_args=args, validate_only=True)
    assert dry.action_args["amount"] == 11
    assert (await house.store().proposals.get(proposal.id)).version == 1
    await house.store("bob").proposals.reject(proposal.id, expected_version=1, reason="no")
    with pytest.raises(IllegalTransition):
        await planner.revise_proposal(proposal.id, expected_version=2, action_args=args)
