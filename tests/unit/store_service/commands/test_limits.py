"""The documented sizes of fields, by the paths that clients are told."""

from __future__ import annotations

from typing import Any

import pytest

from store_service.commands import (
    ApproveProposal,
    BatchApproveProposals,
    BatchCreateProposals,
    CancelPlan,
    CancelProposal,
    ClaimPlans,
    ClaimProposals,
    Command,
    CompletePlanning,
    CreatePlan,
    CreateProposal,
    FailPlanning,
    FailProposal,
    RejectProposal,
    RenewLease,
    RequestKey,
    SubmitProposal,
    UpdateProposal,
)
from store_service.domain.errors import InvalidField
from store_service.domain.lease import Failure
from store_service.domain.plan import GeneratedPlan, GenerationOptions, PlanDraft, PlanState
from store_service.domain.proposal import Decision, Effect, ProposalDraft
from tests.support.proposals import ALICE, BOB, FAILURE, WORKER

SECOND = 1_000_000


def _create(**fields: Any) -> Command:
    return CreateProposal(actor=ALICE, draft=ProposalDraft(**{"action_name": "act"} | fields))


def _plan(**fields: Any) -> Command:
    return CreatePlan(actor=ALICE, draft=PlanDraft(**{"state": PlanState.QUEUED, "prompt": "do"} | fields))


def _update(*fields: str, **values: Any) -> Command:
    draft = ProposalDraft(action_name="", **values)
    return UpdateProposal(actor=ALICE, proposal_id="p", expected_version=1, draft=draft, fields=frozenset(fields))


_approve = ApproveProposal(actor=BOB, proposal_id="p", expected_version=1)
_ttl = Decision(Effect.REQUIRE_APPROVAL, approval_ttl=0)
_endless_ttl = Decision(Effect.REQUIRE_APPROVAL, approval_ttl=36_500 * 86_400 * 1_000_000 + 1)

FITTING: list[Command] = [
    _create(description="x" * 2000, evidence="x" * 4000, priority=1000, required_approvals=100, max_attempts=100),
    _create(labels={f"k{number}": "v" * 256 for number in range(64)}, depends_on=tuple(map(str, range(64)))),
    _create(labels={"a" + "b" * 62: "", "cost.centre_1-x": "é"}),
    _plan(prompt="x" * 32_768, priority=-1000, options=GenerationOptions("m", 10, 1)),
    _update("description", description="x", labels={"WRONG BUT NOT NAMED": ""}),
    ClaimProposals(actor=WORKER, max_proposals=100, lease_duration=3600 * SECOND, action_names=frozenset("abc")),
    RenewLease(actor=WORKER, proposal_id="p", attempt=1, lease_duration=SECOND),
    BatchApproveProposals(actor=BOB, parts=(_approve,)),
]

TOO_MUCH: list[tuple[Command, str]] = [
    (_create(action_name=""), "proposal.action_name"),
    (_create(action_name="x" * 129), "proposal.action_name"),
    (_create(description="x" * 2001), "proposal.description"),
    (_create(description="nul\0"), "proposal.description"),
    (_create(evidence="x" * 4001), "proposal.evidence"),
    (_create(priority=-1001), "proposal.priority"),
    (_create(required_approvals=101), "proposal.required_approvals"),
    (_create(required_approvals=-1), "proposal.required_approvals"),
    (_create(max_attempts=101), "proposal.max_attempts"),
    (_create(reviewer_role="x" * 129), "proposal.reviewer_role"),
    (_create(labels={f"k{number}": "" for number in range(65)}), "proposal.labels"),
    (_create(labels={"Team": ""}), 'proposal.labels["Team"]'),
    (_create(labels={"team": "x" * 257}), 'proposal.labels["team"]'),
    (_create(depends_on=tuple(map(str, range(65)))), "proposal.depends_on"),
    (_create(depends_on=("a", "a")), "proposal.depends_on"),
    (_create(decision=Decision(Effect.DENY)), "proposal.decision.effect"),
    (_create(decision=_ttl), "proposal.decision.approval_ttl"),
    (_create(decision=_endless_ttl), "proposal.decision.approval_ttl"),
    (_update("state"), "update_mask"),
    (_update(description="x" * 2001), "proposal.description"),
    (_plan(prompt="x" * 32_769), "plan.prompt"),
    (_plan(labels={"1": ""}), 'plan.labels["1"]'),
    (_plan(options=GenerationOptions(max_attempts=11)), "plan.options.max_attempts"),
    (_plan(max_attempts=101), "plan.max_attempts"),
    (_plan(objective="x" * 2001), "plan.objective"),
    (_plan(generation=bytes(1024 * 1024 + 1)), "plan.generation"),
    (CompletePlanning(actor=ALICE, plan_id="", attempt=1, generated=GeneratedPlan()), "id"),
    (
        FailPlanning(actor=ALICE, plan_id="l", attempt=1, failure=FAILURE, generation=bytes(1024 * 1024 + 1)),
        "generation",
    ),
    (ApproveProposal(actor=BOB, proposal_id="p"), "expected_version"),
    (ApproveProposal(actor=BOB, proposal_id="", expected_version=1), "id"),
    (ApproveProposal(actor=BOB, proposal_id="p", expected_version=1, comment="x" * 2001), "comment"),
    (SubmitProposal(actor=BOB, proposal_id="p", expected_version=-1), "expected_version"),
    (RejectProposal(actor=BOB, proposal_id="p", expected_version=1), "reason"),
    (RejectProposal(actor=BOB, proposal_id="p", expected_version=1, comment="x" * 2001), "reason"),
    (CancelProposal(actor=BOB, proposal_id="p", comment="x" * 2001), "reason"),
    (CancelPlan(actor=BOB, plan_id="l", comment="x" * 2001), "reason"),
    (ClaimProposals(actor=WORKER, max_proposals=0), "max_proposals"),
    (ClaimProposals(actor=WORKER, max_proposals=101), "max_proposals"),
    (ClaimProposals(actor=WORKER, action_names=frozenset(map(str, range(1001)))), "action_names"),
    (ClaimPlans(actor=ALICE, lease_duration=SECOND - 1), "lease_duration"),
    (ClaimPlans(actor=ALICE, lease_duration=3600 * SECOND + 1), "lease_duration"),
    (FailProposal(actor=WORKER, proposal_id="p", attempt=1, failure=Failure("broken")), "failure.reason"),
    (FailProposal(actor=WORKER, proposal_id="p", attempt=1, failure=Failure("X", "x" * 4001)), "failure.message"),
    (BatchApproveProposals(actor=BOB, parts=()), "requests"),
    (BatchApproveProposals(actor=BOB, parts=(_approve, _approve)), "requests[1].id"),
    (BatchCreateProposals(actor=ALICE, parts=(_create(),) * 101), "requests"),  # type: ignore[arg-type]
    (CreatePlan(actor=ALICE, draft=PlanDraft(state=PlanState.PLANNED), request=RequestKey("7", b"")), "request_id"),
]


@pytest.mark.parametrize("command", FITTING, ids=lambda command: type(command).__name__)
def test_what_just_fits(command: Command) -> None:
    command.check()


@pytest.mark.parametrize(("command", "path"), TOO_MUCH, ids=[path for _, path in TOO_MUCH])
def test_what_does_not(command: Command, path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        command.check()
    assert refused.value.path == path
