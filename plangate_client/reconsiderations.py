"""What planners do with proposals whose decision is made again: a part of `Proposals`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

from plangate_client.calls import Calls, new_request_id

if TYPE_CHECKING:
    # Exists for type checkers only: what the stub is with an asynchronous channel.
    from plangate.store.v1.store_service_pb2_grpc import ProposalServiceAsyncStub


class Reconsiderations:
    """For the planner's identity. Every method raises PlangateError's types."""

    _stub: ProposalServiceAsyncStub
    _calls: Calls

    async def set_governance(self, digest: str) -> store_pb2.Governance:
        """Put a catalogue and policy in force: what was decided under others is not handed out from now on."""
        request = store_pb2.SetGovernanceRequest(digest=digest)
        return await self._calls.unary(self._stub.SetGovernance, request, repeatable=True)

    async def get_governance(self) -> store_pb2.Governance:
        """Return what is in force for the caller's identity."""
        return await self._calls.unary(self._stub.GetGovernance, store_pb2.GetGovernanceRequest(), repeatable=True)

    async def reconsider(
        self, reconsiderations: Sequence[store_pb2.Reconsideration], *, request_id: str | None = None
    ) -> list[proposal_pb2.Proposal]:
        """Record up to 100 new decisions; return the proposals of those that were not skipped."""
        request = store_pb2.ReconsiderProposalsRequest(
            reconsiderations=reconsiderations, request_id=request_id or new_request_id()
        )
        return [*(await self._calls.unary(self._stub.ReconsiderProposals, request, repeatable=True)).proposals]
