"""The store's ProposalService: proposals, and with Reviews and Executions all that is done with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2
from plangate.store.v1.store_service_pb2_grpc import ProposalServiceStub

from plangate_client.calls import Calls, new_request_id
from plangate_client.executions import Executions
from plangate_client.reconsiderations import Reconsiderations
from plangate_client.reviews import Reviews


class Proposals(Reviews, Executions, Reconsiderations):
    """Every method raises PlangateError's types. A write without `request_id` gets one of its own."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = ProposalServiceStub(channel)
        self._calls = calls

    async def create(
        self,
        proposal: proposal_pb2.Proposal,
        *,
        submit: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Store one proposal that belongs to no plan."""
        request = store_pb2.CreateProposalRequest(
            proposal=proposal, submit=submit, request_id=request_id or new_request_id(), validate_only=validate_only
        )
        return await self._calls.unary(self._stub.CreateProposal, request, repeatable=True)

    async def batch_create(
        self,
        requests: Sequence[store_pb2.CreateProposalRequest],
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> list[proposal_pb2.Proposal]:
        """Store up to 100 proposals, all or none."""
        request = store_pb2.BatchCreateProposalsRequest(
            requests=requests, request_id=request_id or new_request_id(), validate_only=validate_only
        )
        return [*(await self._calls.unary(self._stub.BatchCreateProposals, request, repeatable=True)).proposals]

    async def get(self, proposal_id: str, *, timeout_seconds: float | None = None) -> proposal_pb2.Proposal:
        """Return one proposal."""
        request = store_pb2.GetProposalRequest(id=proposal_id)
        return await self._calls.unary(
            self._stub.GetProposal, request, repeatable=True, timeout_seconds=timeout_seconds
        )

    async def batch_get(self, proposal_ids: Sequence[str]) -> list[proposal_pb2.Proposal]:
        """Return up to 100 proposals in the order of the ids."""
        request = store_pb2.BatchGetProposalsRequest(ids=proposal_ids)
        return [*(await self._calls.unary(self._stub.BatchGetProposals, request, repeatable=True)).proposals]

    async def list_page(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        show_deleted: bool = False,
        timeout_seconds: float | None = None,
    ) -> store_pb2.ListProposalsResponse:
        """Return one page."""
        request = store_pb2.ListProposalsRequest(
            filter=filter, order_by=order_by, page_size=page_size, page_token=page_token, show_deleted=show_deleted
        )
        return await self._calls.unary(
            self._stub.ListProposals, request, repeatable=True, timeout_seconds=timeout_seconds
        )

    async def list_all(
        self, *, filter: str = "", order_by: str = "", show_deleted: bool = False, page_size: int = 500
    ) -> AsyncIterator[proposal_pb2.Proposal]:
        """Yield all that match, page by page."""
        page_token = ""
        while True:
            page = await self.list_page(
                filter=filter,
                order_by=order_by,
                page_size=page_size,
                page_token=page_token,
                show_deleted=show_deleted,
            )
            for proposal in page.proposals:
                yield proposal
            page_token = page.next_page_token
            if not page_token:
                return

    async def count(self, *, filter: str = "") -> dict[proposal_pb2.ProposalState.ValueType, int]:
        """How many there are in each state that occurs."""
        request = store_pb2.CountProposalsRequest(filter=filter)
        response = await self._calls.unary(self._stub.CountProposals, request, repeatable=True)
        return {entry.state: entry.count for entry in response.counts}

    async def update(
        self,
        proposal: proposal_pb2.Proposal,
        *,
        expected_version: int,
        update_mask: Sequence[str] = (),
        comment: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> proposal_pb2.Proposal:
        """Replace what a proposal says (the planner's identity only) and void its approvals."""
        request = store_pb2.UpdateProposalRequest(
            proposal=proposal,
            update_mask=FieldMask(paths=update_mask),
            expected_version=expected_version,
            comment=comment,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(
            self._stub.UpdateProposal, request, repeatable=True, timeout_seconds=timeout_seconds
        )

    async def submit(
        self,
        proposal_id: str,
        *,
        expected_version: int = 0,
        comment: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Put a draft up for review."""
        request = store_pb2.SubmitProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            comment=comment,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.SubmitProposal, request, repeatable=True)

    async def cancel(
        self,
        proposal_id: str,
        *,
        reason: str = "",
        expected_version: int = 0,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Cancel; one that is EXECUTING gets a request to stop."""
        request = store_pb2.CancelProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            reason=reason,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.CancelProposal, request, repeatable=True)

    async def delete(
        self,
        proposal_id: str,
        *,
        purge: bool = False,
        comment: str = "",
        expected_version: int = 0,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Hide a proposal, or remove it for good."""
        request = store_pb2.DeleteProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            purge=purge,
            comment=comment,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.DeleteProposal, request, repeatable=True)
