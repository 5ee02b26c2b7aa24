"""Weights are never less than what they stand for: by them a claim knows when it has enough."""

from __future__ import annotations

import pytest

from store_service.domain.canonical import canonical_object
from store_service.domain.plan import PlanState
from store_service.domain.proposal import Approval, Decision, Effect, ProposalState
from store_service.domain.sizes import proposal_weight, queued_plan_weight
from store_service.messages.encoding import snapshot_to_bytes
from tests.support.proposals import NOW, plan, proposal

WIDE = "\U0001f600"


def _deep(levels: int) -> object:
    return [_deep(levels - 1)] if levels else 0


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"n": [0] * 30_000},
        {"n": [0.1] * 15_000},
        {"n": [None, True, "", {}, []] * 3_000},
        {str(number): 0 for number in range(7_000)},
        {"n": [_deep(29)] * 900},
        {"n": [{"a": {"b": 0}}] * 4_000},
        {"text": "x" * 65_000},
        {"text": WIDE * 16_000},
        {"text": "\0" * 10_000},
        {WIDE * 16: [WIDE] * 9_000},
    ],
)
def test_of_arguments(value: dict[str, object]) -> None:
    args_json = canonical_object(value, "args")  # type: ignore[arg-type]
    each = proposal(ProposalState.APPROVED, args_json=args_json)
    assert len(snapshot_to_bytes(each)) <= proposal_weight(each)
    queued = plan(PlanState.QUEUED, context_json=args_json)
    assert len(snapshot_to_bytes(queued)) <= queued_plan_weight(queued)


def test_of_everything_else() -> None:
    labels = {f"{'k' * 60}{number:02}": WIDE * 256 for number in range(64)}
    each = proposal(
        ProposalState.APPROVED,
        description=WIDE * 2_000,
        evidence=WIDE * 4_000,
        labels=labels,
        decision=Decision(Effect.ALLOW, reason=WIDE * 2_000, rule=WIDE * 128, reviewer_role=WIDE * 128),
        reviewer_role=WIDE * 128,
        action_name=WIDE * 128,
        depends_on=tuple(WIDE * 128 for _ in range(64)),
        approvals=tuple(Approval("r" * 128, 1, "d" * 64, WIDE * 2_000, NOW) for _ in range(100)),
    )
    assert len(snapshot_to_bytes(each)) <= proposal_weight(each)
    queued = plan(
        PlanState.QUEUED,
        prompt=WIDE * 32_768,
        objective=WIDE * 2_000,
        labels=labels,
        generation=b"\x0a\x05model" * 1000,
        warnings=tuple(WIDE * 2_000 for _ in range(100)),
    )
    assert len(snapshot_to_bytes(queued)) <= queued_plan_weight(queued)
