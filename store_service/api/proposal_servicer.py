"""plangate.store.v1.ProposalService."""

from __future__ import annotations

from typing import Any

from plangate.store.v1 import proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_BATCH
from plangate_core.rpc.identity.caller import current_caller
from store_service.api.call import Context, Encoded, ResourceServicer, allowed, viewing
from store_service.api.permissions import may_call
from store_service.domain import limits
from store_service.domain.errors import InvalidField
from store_service.filters import parse
from store_service.messages.answers import counts_to_proto, page_to_bytes, repeated_to_bytes
from store_service.messages.queries import listing_from_proto
from store_service.queries import PROPOSAL_FIELDS


class ProposalServicer(ResourceServicer, store_service_pb2_grpc.ProposalServiceServicer):
    """Proposals: written by the planner, reviewed by people, run by executors."""

    async def GetProposal(self, request: rpc.GetProposalRequest, context: Context) -> Encoded:
        viewer = viewing(request, self._clock)
        limits.resource_id("id", request.id)
        return await self._reader.proposal(request.id, viewer)

    async def BatchGetProposals(self, request: rpc.BatchGetProposalsRequest, context: Context) -> Encoded:
        viewer = viewing(request, self._clock)
        if not 1 <= len(request.ids) <= MAX_BATCH:
            raise InvalidField("ids", f"must have 1 to {MAX_BATCH} entries")
        for position, proposal_id in enumerate(request.ids):
            limits.resource_id(f"ids[{position}]", proposal_id)
        return repeated_to_bytes(1, await self._reader.proposals(list(request.ids), viewer))

    async def ListProposals(self, request: rpc.ListProposalsRequest, context: Context) -> Encoded:
        listing = listing_from_proto(request, PROPOSAL_FIELDS, viewing(request, self._clock))
        page = await self._reader.list_proposals(listing.query)
        return page_to_bytes(page.resources, listing.token(page.next_after))

    async def CountProposals(self, request: rpc.CountProposalsRequest, context: Context) -> rpc.CountProposalsResponse:
        viewer = viewing(request, self._clock)
        return counts_to_proto(await self._reader.count_proposals(parse(request.filter, PROPOSAL_FIELDS), viewer))

    async def _write(self, request: Any, context: Context, **granted: bool) -> Encoded:
        """A write that answers with the one proposal it was about."""
        answer = await self._execute(request, context, **granted)
        consequences = repeated_to_bytes(proposal_pb2.Proposal.CONSEQUENCES_FIELD_NUMBER, answer.consequences)
        return answer.snapshots[0] + consequences

    CreateProposal = UpdateProposal = SubmitProposal = CancelProposal = DeleteProposal = _write
    ApproveProposal = WithdrawApproval = RejectProposal = BreakGlass = _write
    RenewLease = CompleteProposal = FailProposal = _write
    BatchCreateProposals = BatchApproveProposals = ReconsiderProposals = ResourceServicer._write_several
    ClaimProposals = ResourceServicer._claim

    async def ResolveProposal(self, request: rpc.ResolveProposalRequest, context: Context) -> Encoded:
        as_executor = not may_call("ApproveProposal", current_caller().roles)
        return await self._write(request, context, as_executor=as_executor)

    async def SetGovernance(self, request: rpc.SetGovernanceRequest, context: Context) -> rpc.Governance:
        await self._execute(request, context)
        return rpc.Governance(planner=current_caller().identity, digest=request.digest)

    async def GetGovernance(self, request: rpc.GetGovernanceRequest, context: Context) -> rpc.Governance:
        actor, _ = allowed(request)
        return rpc.Governance(planner=actor.identity, digest=await self._reader.governance(actor.identity))
