"""Writes of planners about what is in force."""

from dataclasses import dataclass

from plangate_core.contract.limits import MAX_BATCH, MAX_COMMENT_CHARACTERS, MAX_NAME_CHARACTERS
from store_service.commands.command import Command
from store_service.commands.validation import check_decision
from store_service.commands.working_set import Needs, Transaction
from store_service.domain import limits
from store_service.domain.errors import InvalidField
from store_service.domain.proposal import Decision, ProposalState
from store_service.domain.transitions import review

_RECONSIDERED = frozenset({ProposalState.DRAFT, ProposalState.PENDING, ProposalState.APPROVED})


@dataclass(frozen=True, kw_only=True)
class SetGovernance(Command):
    """Says which catalogue and policy are in force for the actor. Answers with nothing, and leaves no event."""

    digest: str

    def check(self) -> None:
        super().check()
        limits.text("digest", self.digest, MAX_NAME_CHARACTERS)

    def collect(self, needs: Needs) -> None:
        needs.governance = True

    def apply(self, transaction: Transaction) -> None:
        transaction.set_governance(self.actor.identity, self.digest)


@dataclass(frozen=True, kw_only=True)
class Reconsideration:
    """What policy decides now about one proposal; `reason` is for its reviewers."""

    proposal_id: str
    expected_version: int
    decision: Decision
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ReconsiderProposals(Command):
    """Records what policy decides now. Proposals of another version or state are skipped."""

    reconsiderations: tuple[Reconsideration, ...]

    def check(self) -> None:
        super().check()
        limits.count("reconsiderations", self.reconsiderations, MAX_BATCH, least=1)
        seen: set[str] = set()
        for index, each in enumerate(self.reconsiderations):
            path = f"reconsiderations[{index}]"
            limits.resource_id(f"{path}.id", each.proposal_id)
            if each.proposal_id in seen:
                raise InvalidField(f"{path}.id", "must name each proposal once")
            seen.add(each.proposal_id)
            if each.expected_version < 1:
                raise InvalidField(f"{path}.expected_version", "must be the version that was read")
            check_decision(each.decision, f"{path}.decision")
            limits.text(f"{path}.reason", each.reason, MAX_COMMENT_CHARACTERS)

    def collect(self, needs: Needs) -> None:
        needs.proposals.update(each.proposal_id for each in self.reconsiderations)

    def apply(self, transaction: Transaction) -> None:
        for each in self.reconsiderations:
            proposal = transaction.find_proposal(each.proposal_id)
            if proposal is None or proposal.delete_time is not None or proposal.version != each.expected_version:
                continue
            if proposal.state not in _RECONSIDERED or not transaction.is_logged(proposal.id):
                continue
            change = review.reconsider(
                proposal, each.decision, self.actor, transaction.now, transaction.rules, reason=each.reason
            )
            comment = change[0].notices[-1].message if len(change[0].notices) > len(proposal.notices) else "unchanged"
            transaction.save(change, comment=comment, answers=True)
