"""Entities become rows and come back by name; a model that differs from its entity is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy.orm import Mapped, mapped_column

from store_service.database.orm import AsyncOntologyObject
from store_service.database.rows import PLANS, PROPOSALS, EntityRows, ModelDiffers
from store_service.domain.lease import Failure, Lease, Leased
from store_service.domain.plan import GenerationOptions, Job, Plan
from store_service.domain.proposal import Decision, Effect, Proposal

PROPOSAL = Proposal(
    id="p",
    version=3,
    lease=Lease("worker", 2, 17),
    attempt=2,
    failure=Failure("TIMEOUT", "too late"),
    revised_by="carol",
    earlier_revisers=("alice", "bob"),
    decision=Decision(Effect.REQUIRE_APPROVAL, required_approvals=2),
)
PLAN = Plan(
    id="l", jobs=(Job(id="a", action_name="act"),), options=GenerationOptions("model", 1, 2), failure=Failure("X")
)


def test_there_and_back() -> None:
    proposal = PROPOSALS.values(PROPOSAL)
    assert PROPOSALS.entity([proposal[name] for name in PROPOSALS.column_names]) == PROPOSAL
    plan = PLANS.values(PLAN)
    assert PLANS.entity([plan[name] for name in PLANS.column_names]) == PLAN


@pytest.mark.parametrize(("earlier", "stored"), [((), "carol"), (("alice", "bob"), "alice\nbob\ncarol")])
def test_all_who_edited_it_are_in_one_column(earlier: tuple[str, ...], stored: str) -> None:
    assert PROPOSALS.values(PROPOSAL.evolve(earlier_revisers=earlier))["revised_by"] == stored


def test_changed_columns() -> None:
    assert PROPOSALS.changed_columns(PROPOSAL, PROPOSAL.evolve(version=4, lease=None)) == (
        "version",
        "lease_worker",
        "lease_expire_time",
    )
    assert PROPOSALS.changed_columns(PROPOSAL, PROPOSAL.evolve()) == ()


@dataclass(frozen=True, kw_only=True)
class Sample(Leased):
    size: int = 0


class SampleRow(AsyncOntologyObject):
    __tablename__ = "samples"
    size: Mapped[int]


class SmallRow(AsyncOntologyObject):
    __tablename__ = "small"


class NamedRow(AsyncOntologyObject):
    __tablename__ = "named"
    size: Mapped[str] = mapped_column()


def test_a_model_that_differs_is_refused() -> None:
    EntityRows(Sample, SampleRow)
    with pytest.raises(ModelDiffers, match="differ in size"):
        EntityRows(Sample, SmallRow)
    with pytest.raises(ModelDiffers, match=r"NamedRow\.size holds"):
        EntityRows(Sample, NamedRow)


# Not tables of the store.
for _row in (SampleRow, SmallRow, NamedRow):
    AsyncOntologyObject.metadata.remove(_row.__table__)  # type: ignore[arg-type]
