"""The store's ProposalService: proposals, and what reviewers, executors and planners do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Unpack

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2
from plangate.store.v1.store_service_pb2_grpc import ProposalServiceStub

from plangate_client.calls import Calls, ListOptions, WriteOptions, duration, identified, new_request_id


class Proposals:
    """Every method raises PlangateError's types. A write without `request_id` gets one of its own."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = ProposalServiceStub(channel)
        self._calls = calls

    async def create(
        self, proposal: proposal_pb2.Proposal, *, submit: bool = False, **options: Unpack[WriteOptions]
    ) -> proposal_pb2.Proposal:
        """Store one proposal that belongs to no plan."""
        request = store_pb2.CreateProposalRequest(proposal=proposal, submit=submit, **identified(options))
        return await self._calls.unary(self._stub.CreateProposal, request)

    async def batch_create(
        self, requests: Sequence[store_pb2.CreateProposalRequest], **options: Unpack[WriteOptions]
    ) -> list[proposal_pb2.Proposal]:
        """Store up to 100 proposals, all or none."""
        request = store_pb2.BatchCreateProposalsRequest(requests=requests, **identified(options))
        return [*(await self._calls.unary(self._stub.BatchCreateProposals, request)).proposals]

    async def get(self, proposal_id: str, *, timeout_seconds: float | None = None) -> proposal_pb2.Proposal:
        """Return one proposal."""
        request = store_pb2.GetProposalRequest(id=proposal_id)
        return await self._calls.unary(self._stub.GetProposal, request, timeout_seconds=timeout_seconds)

    async def batch_get(self, proposal_ids: Sequence[str]) -> list[proposal_pb2.Proposal]:
        """Return up to 100 proposals in the order of the ids."""
        request = store_pb2.BatchGetProposalsRequest(ids=proposal_ids)
        return [*(await self._calls.unary(self._stub.BatchGetProposals, request)).proposals]

    async def list_page(
        self, *, page_token: str = "", timeout_seconds: float | None = None, **options: Unpack[ListOptions]
    ) -> store_pb2.ListProposalsResponse:
        """Return one page."""
        request = store_pb2.ListProposalsRequest(page_token=page_token, **options)
        return await self._calls.unary(self._stub.ListProposals, request, timeout_seconds=timeout_seconds)

    def list_all(self, **options: Unpack[ListOptions]) -> AsyncIterator[proposal_pb2.Proposal]:
        """All that match."""
        request = store_pb2.ListProposalsRequest(**options)
        return self._calls.pages(self._stub.ListProposals, request, lambda page: page.proposals)

    async def count(self, *, filter: str = "") -> dict[proposal_pb2.ProposalState.ValueType, int]:
        """How many there are in each state that occurs."""
        request = store_pb2.CountProposalsRequest(filter=filter)
        response = await self._calls.unary(self._stub.CountProposals, request)
        return {entry.state: entry.count for entry in response.counts}

    async def update(
        self,
        proposal: proposal_pb2.Proposal,
        *,
        expected_version: int,
        update_mask: Sequence[str] = (),
        comment: str = "",
        timeout_seconds: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """Replace what a proposal says (the planner's identity only) and void its approvals."""
        request = store_pb2.UpdateProposalRequest(
            proposal=proposal,
            update_mask=FieldMask(paths=update_mask),
            expected_version=expected_version,
            comment=comment,
            **identified(options),
        )
        return await self._calls.unary(self._stub.UpdateProposal, request, timeout_seconds=timeout_seconds)

    async def submit(
        self, proposal_id: str, *, expected_version: int = 0, comment: str = "", **options: Unpack[WriteOptions]
    ) -> proposal_pb2.Proposal:
        """Put a draft up for review."""
        request = store_pb2.SubmitProposalRequest(
            id=proposal_id, expected_version=expected_version, comment=comment, **identified(options)
        )
        return await self._calls.unary(self._stub.SubmitProposal, request)

    async def cancel(
        self, proposal_id: str, *, reason: str = "", expected_version: int = 0, **options: Unpack[WriteOptions]
    ) -> proposal_pb2.Proposal:
        """Cancel; one that is EXECUTING gets a request to stop."""
        request = store_pb2.CancelProposalRequest(
            id=proposal_id, expected_version=expected_version, reason=reason, **identified(options)
        )
        return await self._calls.unary(self._stub.CancelProposal, request)

    async def delete(
        self,
        proposal_id: str,
        *,
        purge: bool = False,
        comment: str = "",
        expected_version: int = 0,
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """Hide a proposal, or remove it for good."""
        request = store_pb2.DeleteProposalRequest(
            id=proposal_id, expected_version=expected_version, purge=purge, comment=comment, **identified(options)
        )
        return await self._calls.unary(self._stub.DeleteProposal, request)

    async def approve(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        args_digest: str = "",
        comment: str = "",
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """Say yes to exactly the version that was read."""
        request = store_pb2.ApproveProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            args_digest=args_digest,
            comment=comment,
            **identified(options),
        )
        return await self._calls.unary(self._stub.ApproveProposal, request)

    async def batch_approve(
        self, requests: Sequence[store_pb2.ApproveProposalRequest], **options: Unpack[WriteOptions]
    ) -> list[proposal_pb2.Proposal]:
        """Approve up to 100 proposals, all or none."""
        request = store_pb2.BatchApproveProposalsRequest(requests=requests, **identified(options))
        return [*(await self._calls.unary(self._stub.BatchApproveProposals, request)).proposals]

    async def break_glass(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        reason: str,
        args_digest: str = "",
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """One admin's part in having a proposal executed without its review; the second distinct admin's counts."""
        request = store_pb2.BreakGlassRequest(
            id=proposal_id,
            expected_version=expected_version,
            args_digest=args_digest,
            reason=reason,
            **identified(options),
        )
        return await self._calls.unary(self._stub.BreakGlass, request)

    async def withdraw_approval(
        self, proposal_id: str, *, expected_version: int = 0, comment: str = "", **options: Unpack[WriteOptions]
    ) -> proposal_pb2.Proposal:
        """Take the caller's own approval back."""
        request = store_pb2.WithdrawApprovalRequest(
            id=proposal_id, expected_version=expected_version, comment=comment, **identified(options)
        )
        return await self._calls.unary(self._stub.WithdrawApproval, request)

    async def reject(
        self, proposal_id: str, *, expected_version: int, reason: str, **options: Unpack[WriteOptions]
    ) -> proposal_pb2.Proposal:
        """Say no; final."""
        request = store_pb2.RejectProposalRequest(
            id=proposal_id, expected_version=expected_version, reason=reason, **identified(options)
        )
        return await self._calls.unary(self._stub.RejectProposal, request)

    async def claim(
        self,
        *,
        action_names: Sequence[str] = (),
        max_proposals: int = 1,
        lease_seconds: float | None = None,
        wait_seconds: float | None = None,
        plan_id: str = "",
        request_id: str | None = None,
    ) -> list[proposal_pb2.Proposal]:
        """Lease approved proposals; waits up to `wait_seconds` for one to appear."""
        request = store_pb2.ClaimProposalsRequest(
            action_names=action_names,
            max_proposals=max_proposals,
            lease_duration=duration(lease_seconds),
            wait_duration=duration(wait_seconds),
            plan_id=plan_id,
            request_id=request_id or new_request_id(),
        )
        response = await self._calls.unary(
            self._stub.ClaimProposals,
            request,
            timeout_seconds=(wait_seconds or 0.0) + self._calls.call_policy.timeout_seconds,
        )
        return [*response.proposals]

    async def renew_lease(
        self,
        proposal_id: str,
        *,
        attempt: int,
        lease_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> proposal_pb2.Proposal:
        """Prolong a lease; the answer says whether a cancel was requested."""
        request = store_pb2.RenewLeaseRequest(id=proposal_id, attempt=attempt, lease_duration=duration(lease_seconds))
        return await self._calls.unary(self._stub.RenewLease, request, timeout_seconds=timeout_seconds)

    async def complete(
        self,
        proposal_id: str,
        *,
        attempt: int,
        result: Struct | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> proposal_pb2.Proposal:
        """Report success under a lease."""
        request = store_pb2.CompleteProposalRequest(
            id=proposal_id, attempt=attempt, result=result, request_id=request_id or new_request_id()
        )
        return await self._calls.unary(self._stub.CompleteProposal, request, timeout_seconds=timeout_seconds)

    async def fail(
        self,
        proposal_id: str,
        *,
        attempt: int,
        failure: plan_pb2.Failure,
        not_started: bool = False,
        retryable: bool = False,
        retry_delay_seconds: float | None = None,
        result: Struct | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> proposal_pb2.Proposal:
        """Report failure under a lease.

        :param not_started: nothing was begun: APPROVED again, and the attempt does not count. Without `result`.
        """
        request = store_pb2.FailProposalRequest(
            id=proposal_id,
            attempt=attempt,
            failure=failure,
            not_started=not_started,
            retryable=retryable,
            retry_delay=duration(retry_delay_seconds),
            result=result,
            request_id=request_id or new_request_id(),
        )
        return await self._calls.unary(self._stub.FailProposal, request, timeout_seconds=timeout_seconds)

    async def resolve(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        done: bool,
        reason: str,
        retry: bool = False,
        result: Struct | None = None,
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """Say whether an UNRESOLVED proposal's action was carried out.

        :param retry: when it was not: have it executed again under the approvals it has, instead of FAILED.
        :param result: when it was: what came out.
        """
        request = store_pb2.ResolveProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            resolution=store_pb2.RESOLUTION_DONE if done else store_pb2.RESOLUTION_NOT_DONE,
            reason=reason,
            retry=retry,
            result=result,
            **identified(options),
        )
        return await self._calls.unary(self._stub.ResolveProposal, request)

    async def set_governance(self, digest: str) -> store_pb2.Governance:
        """Put a catalogue and policy in force: what was decided under others is not handed out from now on."""
        request = store_pb2.SetGovernanceRequest(digest=digest)
        return await self._calls.unary(self._stub.SetGovernance, request)

    async def get_governance(self) -> store_pb2.Governance:
        """Return what is in force for the caller's identity."""
        return await self._calls.unary(self._stub.GetGovernance, store_pb2.GetGovernanceRequest())

    async def reconsider(
        self, reconsiderations: Sequence[store_pb2.Reconsideration], *, request_id: str | None = None
    ) -> list[proposal_pb2.Proposal]:
        """Record up to 100 new decisions; return the proposals of those that were not skipped."""
        request = store_pb2.ReconsiderProposalsRequest(
            reconsiderations=reconsiderations, request_id=request_id or new_request_id()
        )
        return [*(await self._calls.unary(self._stub.ReconsiderProposals, request)).proposals]
