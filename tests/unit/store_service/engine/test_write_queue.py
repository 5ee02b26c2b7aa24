"""What one batch takes from the queue."""

from __future__ import annotations

import pytest

from store_service.commands import CancelProposal, Command, CreatePlan
from store_service.domain.plan import PlanDraft, PlanState
from store_service.engine.write_queue import Waiting, WriteQueue
from tests.support.proposals import ALICE, BOB


def _filled(*commands: Command) -> WriteQueue:
    queue = WriteQueue(1000, 1 << 30)
    for command in commands:
        queue.put(Waiting(command, None), 0.0)
    return queue


def _largest() -> CreatePlan:
    return CreatePlan(actor=ALICE, draft=PlanDraft(state=PlanState.PLANNED), size=4 * 1024 * 1024)


@pytest.mark.asyncio
async def test_small_commands_go_together_up_to_the_limit() -> None:
    queue = _filled(*(CancelProposal(actor=BOB, proposal_id=f"p{number}") for number in range(300)))
    assert [len(queue.take(256)), len(queue.take(256)), len(queue)] == [256, 44, 0]


@pytest.mark.asyncio
async def test_the_largest_go_one_by_one() -> None:
    small = CancelProposal(actor=BOB, proposal_id="p")
    queue = _filled(small, _largest(), _largest(), small, _largest(), small)
    assert [len(queue.take(256)) for _ in range(4)] == [2, 1, 2, 1]
