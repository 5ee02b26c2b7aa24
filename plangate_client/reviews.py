"""What reviewers do with proposals: a part of `Proposals`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

from plangate_client.calls import Calls, new_request_id

if TYPE_CHECKING:
    # Exists for type checkers only: what the stub is with an asynchronous channel.
    from plangate.store.v1.store_service_pb2_grpc import ProposalServiceAsyncStub


class Reviews:
    """Every method raises PlangateError's types. A write without `request_id` gets one of its own."""

    _stub: ProposalServiceAsyncStub
    _calls: Calls

    async def approve(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        args_digest: str = "",
        comment: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Say yes to exactly the version that was read."""
        request = store_pb2.ApproveProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            args_digest=args_digest,
            comment=comment,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.ApproveProposal, request, repeatable=True)

    async def batch_approve(
        self,
        requests: Sequence[store_pb2.ApproveProposalRequest],
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> list[proposal_pb2.Proposal]:
        """Approve up to 100 proposals, all or none."""
        request = store_pb2.BatchApproveProposalsRequest(
            requests=requests, request_id=request_id or new_request_id(), validate_only=validate_only
        )
        return [*(await self._calls.unary(self._stub.BatchApproveProposals, request, repeatable=True)).proposals]

    async def break_glass(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        reason: str,
        args_digest: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """One admin's part in having a proposal executed without its review; the second distinct admin's counts."""
        request = store_pb2.BreakGlassRequest(
            id=proposal_id,
            expected_version=expected_version,
            args_digest=args_digest,
            reason=reason,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.BreakGlass, request, repeatable=True)

    async def withdraw_approval(
        self,
        proposal_id: str,
        *,
        expected_version: int = 0,
        comment: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Take the caller's own approval back."""
        request = store_pb2.WithdrawApprovalRequest(
            id=proposal_id,
            expected_version=expected_version,
            comment=comment,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.WithdrawApproval, request, repeatable=True)

    async def reject(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        reason: str,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> proposal_pb2.Proposal:
        """Say no; final."""
        request = store_pb2.RejectProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            reason=reason,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.RejectProposal, request, repeatable=True)
