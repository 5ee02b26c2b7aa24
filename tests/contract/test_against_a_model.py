"""Random commands in random batches do what a small model of proposals says they do."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from store_service.commands import (
    ApproveProposal,
    CancelProposal,
    ClaimProposals,
    Command,
    CompleteProposal,
    CreateProposal,
    FailProposal,
    RejectProposal,
)
from store_service.commands.answer import Answer
from store_service.domain.errors import Refusal
from store_service.domain.proposal import ProposalDraft, ProposalState
from tests.support.databases import ram_directory
from tests.support.proposals import ALICE, FAILURE, WORKER
from tests.support.serverless_store import Store, opened, outcomes, person

S = ProposalState
FINAL = {S.EXECUTED, S.FAILED, S.REJECTED, S.CANCELLED}

# (what, which proposal by its place among those made, which reviewer)
verbs = st.tuples(
    st.sampled_from(["approve", "stale approve", "reject", "cancel", "complete", "fail"]),
    st.integers(0, 5),
    st.integers(0, 2),
)
# Alone, as what is made has no id before its batch was answered, and a claim does not see what its own batch frees.
claim = st.just([("claim", 0, 0)])
alone = st.tuples(st.sampled_from(["create", "depend"]), st.integers(0, 5), st.just(0)).map(lambda one: [one])
approval = st.integers(0, 5).map(lambda which: [("approve", which, 0), ("approve", which, 1)])
report = st.tuples(st.sampled_from(["complete", "fail"]), st.integers(0, 5), st.just(0)).map(lambda one: [one])
some_verbs = st.lists(verbs, min_size=1, max_size=4)
rounds = st.lists(
    st.one_of(approval, approval, claim, claim, report, report, alone, some_verbs), min_size=12, max_size=30
)
# What every example begins with: two on their own, a chain of three, one more on the first.
BEGINNING = [[("create", 0, 0)], [("create", 0, 0)], *([("depend", which, 0)] for which in (1, 2, 0))]
Round = list[tuple[str, int, int]]


@dataclass
class Modelled:
    needs: int | None
    state: ProposalState = S.PENDING
    version: int = 1
    approvers: set[int] = field(default_factory=set)
    attempt: int = 0
    asked_to_stop: bool = False


class Model:
    """Proposals that need two approvals and may be tried twice. Each method says whether the command succeeds."""

    def __init__(self) -> None:
        self.made: list[Modelled] = []

    def aim(self, what: str, place: int) -> int:
        """A proposal on which the command may succeed, if there is one: most would fail on any."""
        wanted = {"approve": S.PENDING, "complete": S.EXECUTING, "fail": S.EXECUTING}.get(what)
        fitting = [index for index, proposal in enumerate(self.made) if proposal.state is wanted]
        return fitting[place % len(fitting)] if fitting else place

    def do(self, what: str, which: int, number: int) -> bool:
        if what == "create":
            self.made.append(Modelled(None))
            return True
        if what == "claim":
            ready = (p for p in self.made if p.state is S.APPROVED and self._free(p))
            if (found := next(ready, None)) is not None:
                found.attempt += 1
                self._become(found, S.EXECUTING)
            return True
        if which >= len(self.made):
            return False
        target = self.made[which]
        if what == "depend":
            if target.state in FINAL - {S.EXECUTED}:
                return False
            self.made.append(Modelled(which))
            return True
        return self._verb(what, target, number)

    def _verb(self, what: str, target: Modelled, number: int) -> bool:
        if what == "approve":
            if target.state is not S.PENDING or number in target.approvers:
                return False
            target.approvers.add(number)
            self._become(target, S.APPROVED if len(target.approvers) == 2 else S.PENDING)
        elif what == "reject":
            if target.state is not S.PENDING:
                return False
            self._become(target, S.REJECTED)
        elif what == "cancel":
            if target.state in FINAL:
                return False
            target.asked_to_stop = target.state is S.EXECUTING
            self._become(target, target.state if target.asked_to_stop else S.CANCELLED)
        elif what in {"complete", "fail"}:
            if target.state is not S.EXECUTING:
                return False
            failed = S.CANCELLED if target.asked_to_stop else S.FAILED if target.attempt == 2 else S.APPROVED
            self._become(target, S.EXECUTED if what == "complete" else failed)
        else:
            return False
        return True

    def _free(self, proposal: Modelled) -> bool:
        return proposal.needs is None or self.made[proposal.needs].state is S.EXECUTED

    def _become(self, proposal: Modelled, state: ProposalState) -> None:
        proposal.state, proposal.version = state, proposal.version + 1
        if state in FINAL - {S.EXECUTED}:
            for other in self.made:
                if other.needs is not None and self.made[other.needs] is proposal and other.state not in FINAL:
                    self._become(other, S.CANCELLED)


def _command(ids: list[str], model: Model, what: str, which: int, number: int) -> Command:
    """The command, as one would send it who knows what the model knows at its turn."""
    proposal_id = ids[which] if which < len(ids) else "missing"
    known = model.made[which] if which < len(model.made) else Modelled(None)
    match what:
        case "create" | "depend":
            needs = (proposal_id,) if what == "depend" else ()
            draft = ProposalDraft(action_name="act", required_approvals=2, max_attempts=2, depends_on=needs)
            return CreateProposal(actor=ALICE, draft=draft, submit=True)
        case "approve" | "stale approve":
            version = known.version + (what != "approve")
            return ApproveProposal(actor=person(f"r{number}"), proposal_id=proposal_id, expected_version=version)
        case "reject":
            return RejectProposal(
                actor=person("r9"), proposal_id=proposal_id, expected_version=known.version, comment="no"
            )
        case "cancel":
            return CancelProposal(actor=ALICE, proposal_id=proposal_id)
        case "claim":
            return ClaimProposals(actor=WORKER)
        case "complete":
            return CompleteProposal(actor=WORKER, proposal_id=proposal_id, attempt=known.attempt)
        case _:
            return FailProposal(
                actor=WORKER, proposal_id=proposal_id, attempt=known.attempt, failure=FAILURE, retryable=True
            )


async def _check(store: Store, batches: list[Round]) -> None:
    model, ids = Model(), list[str]()
    for batch in [*BEGINNING, *batches]:
        commands: list[Command] = []
        expected: list[bool] = []
        for what, place, number in batch:
            which = model.aim(what, place) if len(batch) < 3 else place
            commands.append(_command(ids, model, what, which, number))
            expected.append(model.do(what, which, number))
        results = await outcomes(*(store.writer.execute(command) for command in commands))
        assert [not isinstance(result, Exception) for result in results] == expected, (batch, results)
        assert all(isinstance(result, Answer | Refusal) for result in results), results
        rows = await store.rows()
        ids += sorted(rows.keys() - set(ids))
        seen = [(rows[i].state, rows[i].version, len(rows[i].approvals), rows[i].attempt) for i in ids]
        assert seen == [(p.state, p.version, len(p.approvers), p.attempt) for p in model.made], batch
    await store.events()


# Without shrinking: each example is a database of its own, and the batch that went wrong is named.
@settings(max_examples=40, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(rounds)
def test_random_batches_do_what_the_model_says(batches: list[Round]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory(dir=ram_directory()) as directory:
            async with opened(f"sqlite:///{directory}/plangate.db") as store:
                await _check(store, batches)

    asyncio.run(run())
