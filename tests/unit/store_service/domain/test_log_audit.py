"""Every kind of entry has its rule, and docs/verify_log.py has the same ones."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from store_service.domain.events import EventKind
from store_service.domain.log_audit import ProposalEntry, outcomes_of, proposal_fault
from store_service.domain.proposal import ProposalState
from tests.support.proposals import proposal

STEPS: dict[str, str] = runpy.run_path(str(Path(__file__).parents[4] / "docs" / "verify_log.py"))["STEPS"]
KINDS = [kind for kind in EventKind if kind.value.startswith("proposal.")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_standalone_verifier_has_the_same_steps(kind: EventKind) -> None:
    name = kind.value.removeprefix("proposal.")
    found = {
        f"{'new' if before is None else before.value}>{after.value}"
        for before in (None, *ProposalState)
        for after in outcomes_of(kind.value, before)
    }
    assert found, "no rule allows it"
    assert found == set(STEPS[name].split())


def test_the_standalone_verifier_knows_no_other_kinds() -> None:
    assert {f"proposal.{name}" for name in STEPS} == {kind.value for kind in KINDS}


def test_a_reconsideration_that_changes_the_state_has_another_name() -> None:
    before = ProposalEntry("proposal.approved", "bob", "", proposal(ProposalState.APPROVED), b"", True)
    sent_back = before.proposal.evolve(version=before.version + 1, state=ProposalState.PENDING)
    after = ProposalEntry("proposal.reconsidered", "planner", "", sent_back, b"", True)
    assert proposal_fault(before, after, "planner") == "proposal.reconsidered does not lead from APPROVED to PENDING"
