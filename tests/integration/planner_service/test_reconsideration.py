"""The yes is looked at again when work begins: policy and catalogue in force then decide, not those of the planning."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from tests.support.manual_clock import ManualClock
from tests.support.planner_house import CATALOGUE, PlannerHouse, job, open_house
from tests.support.polling import eventually

ALLOWING = "version: 1\nrules:\n- {name: all, match: {action: read_status}, effect: allow}\n"
DENYING = "version: 1\nrules:\n- {name: frozen, effect: deny, reason: code freeze}\n"
STRICTER = """
version: 1
rules:
- {name: two, match: {action: refund_order}, effect: require_approval, approvals: 2, reason: two people from now on}
"""
NOT_AT_NIGHT = """
version: 1
rules:
- {name: by-day, match: {action: read_status}, when: "now.getHours() < 18", effect: allow}
- {name: by-night, match: {action: read_status}, when: "now.getHours() >= 18", effect: deny, reason: not at night}
"""


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path, policy=ALLOWING) as house:
        yield house


async def submitted(house: PlannerHouse, action: str, **args: object) -> str:
    """The id of the proposal of a plan with this step."""
    plan = await house.planner("alice").submit_plan("Do it.", [job(action, **args)])
    return plan.jobs[0].proposal_id


async def claimed(house: PlannerHouse) -> list[str]:
    return [each.id for each in await house.store("runner").proposals.claim(max_proposals=10)]


def replaced(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


async def becomes(house: PlannerHouse, proposal_id: str, rule: str) -> proposal_pb2.Proposal:
    """The proposal, once its decision is that rule's."""

    async def decided() -> bool:
        return (await house.store().proposals.get(proposal_id)).decision.rule == rule

    await eventually(decided)
    return await house.store().proposals.get(proposal_id)


@pytest.mark.asyncio
async def test_what_policy_denies_by_now_is_not_handed_out_until_it_is_allowed_again(house: PlannerHouse) -> None:
    proposal_id = await submitted(house, "read_status", service="web")
    assert (await house.store().proposals.get(proposal_id)).state == proposal_pb2.PROPOSAL_STATE_APPROVED
    replaced(house.policy_file, DENYING)
    denied = await becomes(house, proposal_id, "frozen")
    assert denied.state == proposal_pb2.PROPOSAL_STATE_PENDING
    assert denied.decision.effect == plan_pb2.EFFECT_DENY
    assert any("code freeze" in notice.message for notice in denied.notices)
    assert await claimed(house) == []


@pytest.mark.asyncio
async def test_a_step_whose_decision_stays_is_handed_out_after_a_change(house: PlannerHouse) -> None:
    proposal_id = await submitted(house, "read_status", service="web")
    replaced(house.policy_file, ALLOWING.replace("name: all", "name: everything"))
    again = await becomes(house, proposal_id, "everything + catalogue:read_status".partition(" +")[0])
    assert again.state == proposal_pb2.PROPOSAL_STATE_APPROVED
    assert await claimed(house) == [proposal_id]


@pytest.mark.asyncio
async def test_approvals_that_no_longer_suffice_are_kept_as_history(house: PlannerHouse) -> None:
    proposal_id = await submitted(house, "refund_order", order="o", amount=5)
    await house.store("bob").proposals.approve(proposal_id, expected_version=1)
    replaced(house.policy_file, STRICTER)
    again = await becomes(house, proposal_id, "two + catalogue:refund_order")
    assert (again.state, again.required_approvals) == (proposal_pb2.PROPOSAL_STATE_PENDING, 2)
    assert await claimed(house) == []
    given = [approval.reviewer for approval in (*again.approvals, *again.earlier_approvals)]
    assert given == ["bob"]


@pytest.mark.asyncio
async def test_arguments_that_the_catalogue_refuses_by_now(house: PlannerHouse) -> None:
    proposal_id = await submitted(house, "read_status", service="web", depth=5)
    replaced(house.catalogue_file, CATALOGUE.replace("minimum: 1, default: 1", "minimum: 1, maximum: 3, default: 1"))
    await eventually(lambda: _is_pending(house, proposal_id))
    refused = await house.store().proposals.get(proposal_id)
    assert "action_args.depth" in refused.decision.reason
    assert await claimed(house) == []


async def _is_pending(house: PlannerHouse, proposal_id: str) -> bool:
    return (await house.store().proposals.get(proposal_id)).state == proposal_pb2.PROPOSAL_STATE_PENDING


@pytest.mark.asyncio
async def test_a_rule_about_the_time_is_looked_at_while_a_step_waits(tmp_path: Path) -> None:
    clock = ManualClock()
    clock.advance(17.9 * 3600)
    async with open_house(tmp_path, policy=NOT_AT_NIGHT, clock=clock) as house:
        proposal_id = await submitted(house, "read_status", service="web")
        assert (await house.store().proposals.get(proposal_id)).state == proposal_pb2.PROPOSAL_STATE_APPROVED
        clock.advance(1800)
        await becomes(house, proposal_id, "by-night")
        assert await claimed(house) == []


@pytest.mark.asyncio
async def test_a_planner_with_older_files_does_not_undo_what_a_newer_one_put_in_force(house: PlannerHouse) -> None:
    proposal_id = await submitted(house, "read_status", service="web")
    newer = house.directory / "newer.yaml"
    newer.write_text(DENYING)
    await house.add_planner(policy_file=newer)
    denied = await becomes(house, proposal_id, "frozen")
    # The older planner goes on making plans, which the newer one decides about again before anybody may claim them.
    other = await submitted(house, "read_status", service="db")
    assert (await becomes(house, other, "frozen")).state == proposal_pb2.PROPOSAL_STATE_PENDING
    assert (await house.store().proposals.get(proposal_id)).version == denied.version
    assert await claimed(house) == []
