"""plangate.store.v1.ProposalService."""

from __future__ import annotations

from plangate.store.v1 import proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.contract.limits import MAX_BATCH
from plangate_core.process.clock import Clock
from store_service.api.call import Context, Encoded, Writes, allowed, deadline_of, viewing, waiting_time
from store_service.api.permissions import may_call
from store_service.commands import Command
from store_service.database.reader import Reader
from store_service.domain.errors import InvalidField
from store_service.filters import parse
from store_service.messages import commands as decode
from store_service.messages.answers import counts_to_proto, proposal_page_to_bytes, repeated_to_bytes
from store_service.messages.decoding import resource_id_from_proto
from store_service.messages.queries import resource_listing
from store_service.queries import PROPOSAL_FIELDS


class ProposalServicer(store_service_pb2_grpc.ProposalServiceServicer):
    """Proposals: written by the planner, reviewed by people, run by executors."""

    def __init__(self, writer: Writes, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def CreateProposal(self, request: rpc.CreateProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("CreateProposal")
        return await self._write(decode.create_proposal(request, actor), context)

    async def BatchCreateProposals(self, request: rpc.BatchCreateProposalsRequest, context: Context) -> Encoded:
        actor, _ = allowed("BatchCreateProposals")
        command = decode.batch_create_proposals(request, actor)
        answer = await self._writer.execute(command, deadline=deadline_of(context))
        return repeated_to_bytes(rpc.BatchCreateProposalsResponse.PROPOSALS_FIELD_NUMBER, answer.snapshots)

    async def GetProposal(self, request: rpc.GetProposalRequest, context: Context) -> Encoded:
        viewer = viewing("GetProposal", self._clock)
        return await self._reader.proposal(resource_id_from_proto(request.id), viewer)

    async def BatchGetProposals(self, request: rpc.BatchGetProposalsRequest, context: Context) -> Encoded:
        viewer = viewing("BatchGetProposals", self._clock)
        if not 1 <= len(request.ids) <= MAX_BATCH:
            raise InvalidField("ids", f"must have 1 to {MAX_BATCH} entries")
        ids = [resource_id_from_proto(id_, f"ids[{position}]") for position, id_ in enumerate(request.ids)]
        proposals = await self._reader.proposals(ids, viewer)
        return repeated_to_bytes(rpc.BatchGetProposalsResponse.PROPOSALS_FIELD_NUMBER, proposals)

    async def ListProposals(self, request: rpc.ListProposalsRequest, context: Context) -> Encoded:
        listing = resource_listing(request, PROPOSAL_FIELDS, viewing("ListProposals", self._clock))
        page = await self._reader.list_proposals(listing.query)
        return proposal_page_to_bytes(page, listing.token(page.next_after))

    async def CountProposals(self, request: rpc.CountProposalsRequest, context: Context) -> rpc.CountProposalsResponse:
        viewer = viewing("CountProposals", self._clock)
        return counts_to_proto(await self._reader.count_proposals(parse(request.filter, PROPOSAL_FIELDS), viewer))

    async def UpdateProposal(self, request: rpc.UpdateProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("UpdateProposal")
        return await self._write(decode.update_proposal(request, actor), context)

    async def SubmitProposal(self, request: rpc.SubmitProposalRequest, context: Context) -> Encoded:
        actor, only_creator = allowed("SubmitProposal")
        return await self._write(decode.submit_proposal(request, actor, only_creator=only_creator), context)

    async def ApproveProposal(self, request: rpc.ApproveProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("ApproveProposal")
        return await self._write(decode.approve_proposal(request, actor), context)

    async def BatchApproveProposals(self, request: rpc.BatchApproveProposalsRequest, context: Context) -> Encoded:
        actor, _ = allowed("BatchApproveProposals")
        command = decode.batch_approve_proposals(request, actor)
        answer = await self._writer.execute(command, deadline=deadline_of(context))
        return repeated_to_bytes(rpc.BatchApproveProposalsResponse.PROPOSALS_FIELD_NUMBER, answer.snapshots)

    async def WithdrawApproval(self, request: rpc.WithdrawApprovalRequest, context: Context) -> Encoded:
        actor, _ = allowed("WithdrawApproval")
        return await self._write(decode.withdraw_approval(request, actor), context)

    async def RejectProposal(self, request: rpc.RejectProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("RejectProposal")
        return await self._write(decode.reject_proposal(request, actor), context)

    async def CancelProposal(self, request: rpc.CancelProposalRequest, context: Context) -> Encoded:
        actor, only_creator = allowed("CancelProposal")
        return await self._write(decode.cancel_proposal(request, actor, only_creator=only_creator), context)

    async def DeleteProposal(self, request: rpc.DeleteProposalRequest, context: Context) -> Encoded:
        actor, only_creator = allowed("DeleteProposal")
        return await self._write(decode.delete_proposal(request, actor, only_creator=only_creator), context)

    async def ClaimProposals(self, request: rpc.ClaimProposalsRequest, context: Context) -> Encoded:
        actor, _ = allowed("ClaimProposals")
        answer = await self._writer.execute_waiting(
            decode.claim_proposals(request, actor),
            wait_seconds=waiting_time(decode.wait_seconds(request), context),
            deadline=deadline_of(context),
        )
        return repeated_to_bytes(rpc.ClaimProposalsResponse.PROPOSALS_FIELD_NUMBER, answer.snapshots)

    async def RenewLease(self, request: rpc.RenewLeaseRequest, context: Context) -> Encoded:
        actor, _ = allowed("RenewLease")
        return await self._write(decode.renew_lease(request, actor), context)

    async def CompleteProposal(self, request: rpc.CompleteProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("CompleteProposal")
        return await self._write(decode.complete_proposal(request, actor), context)

    async def FailProposal(self, request: rpc.FailProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("FailProposal")
        return await self._write(decode.fail_proposal(request, actor), context)

    async def ResolveProposal(self, request: rpc.ResolveProposalRequest, context: Context) -> Encoded:
        actor, _ = allowed("ResolveProposal")
        as_executor = not may_call("ApproveProposal", actor.roles)
        return await self._write(decode.resolve_proposal(request, actor, as_executor=as_executor), context)

    async def BreakGlass(self, request: rpc.BreakGlassRequest, context: Context) -> Encoded:
        actor, _ = allowed("BreakGlass")
        return await self._write(decode.break_glass(request, actor), context)

    async def SetGovernance(self, request: rpc.SetGovernanceRequest, context: Context) -> rpc.Governance:
        actor, _ = allowed("SetGovernance")
        await self._writer.execute(decode.set_governance(request, actor), deadline=deadline_of(context))
        return rpc.Governance(planner=actor.identity, digest=request.digest)

    async def GetGovernance(self, request: rpc.GetGovernanceRequest, context: Context) -> rpc.Governance:
        actor, _ = allowed("GetGovernance")
        return rpc.Governance(planner=actor.identity, digest=await self._reader.governance(actor.identity))

    async def ReconsiderProposals(self, request: rpc.ReconsiderProposalsRequest, context: Context) -> Encoded:
        actor, _ = allowed("ReconsiderProposals")
        command = decode.reconsider_proposals(request, actor)
        answer = await self._writer.execute(command, deadline=deadline_of(context))
        return repeated_to_bytes(rpc.ReconsiderProposalsResponse.PROPOSALS_FIELD_NUMBER, answer.snapshots)

    async def _write(self, command: Command, context: Context) -> bytes:
        """For RPCs that answer with the one proposal they changed."""
        answer = await self._writer.execute(command, deadline=deadline_of(context))
        consequences = repeated_to_bytes(proposal_pb2.Proposal.CONSEQUENCES_FIELD_NUMBER, answer.consequences)
        return answer.snapshots[0] + consequences
