"""The store's ProposalService as making decisions again needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

from plangate_client.client import StoreClient
from planner_service.messages.decoding import open_proposal_from_proto
from planner_service.messages.encoding import decision_to_proto
from planner_service.planning.reconsideration import OpenProposal, Reconsidered
from planner_service.store_gateway import translated

_PAGE = 200
_OPEN = '(state = "PENDING" OR state = "APPROVED")'
_OPEN_STATES = (proposal_pb2.PROPOSAL_STATE_PENDING, proposal_pb2.PROPOSAL_STATE_APPROVED)


class GovernanceGateway:
    """Calls of one planner to one store."""

    def __init__(self, client: StoreClient) -> None:
        self._proposals = client.proposals

    async def governance_in_force(self) -> str:
        """The digest that a planner of this identity put in force last; empty when none did."""
        async with translated():
            return (await self._proposals.get_governance()).digest

    async def put_in_force(self, digest: str) -> None:
        """Decisions under another digest are not handed out from now on."""
        async with translated():
            await self._proposals.set_governance(digest)

    async def open_proposals(self, changed_since: datetime | None) -> AsyncIterator[OpenProposal]:
        """Proposals that are PENDING or APPROVED, in the order of their changes; all, or those changed since then."""
        changed = "" if changed_since is None else f' AND update_time >= "{changed_since.isoformat()}"'
        async with translated():
            async for message in self._proposals.list_all(
                filter=f"{_OPEN}{changed}", order_by="update_time", page_size=_PAGE
            ):
                yield open_proposal_from_proto(message)

    async def proposals(self, ids: Sequence[str]) -> list[OpenProposal]:
        """Those of at most 50 proposals that are PENDING or APPROVED."""
        async with translated():
            found = await self._proposals.list_page(
                filter=" OR ".join(f'id = "{each}"' for each in ids), page_size=len(ids)
            )
        return [open_proposal_from_proto(message) for message in found.proposals if message.state in _OPEN_STATES]

    async def reconsider(self, entries: Sequence[Reconsidered]) -> None:
        """Record at most 100 decisions. Entries of another version are skipped."""
        async with translated():
            await self._proposals.reconsider(
                [
                    store_pb2.Reconsideration(
                        id=entry.id,
                        expected_version=entry.expected_version,
                        decision=decision_to_proto(entry.decision),
                        reason=entry.decision.reason,
                    )
                    for entry in entries
                ]
            )
