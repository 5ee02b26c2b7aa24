"""What executors do with proposals: a part of `Proposals`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

from plangate_client.calls import Calls, duration, new_request_id

if TYPE_CHECKING:
    # Exists for type checkers only: what the stub is with an asynchronous channel.
    from plangate.store.v1.store_service_pb2_grpc import ProposalServiceAsyncStub


class Executions:
    """Every method raises PlangateError's types. A write without `request_id` gets one of its own."""

    _stub: ProposalServiceAsyncStub
    _calls: Calls

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
            repeatable=True,
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
        return await self._calls.unary(self._stub.RenewLease, request, repeatable=True, timeout_seconds=timeout_seconds)

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
        return await self._calls.unary(
            self._stub.CompleteProposal, request, repeatable=True, timeout_seconds=timeout_seconds
        )

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
        return await self._calls.unary(
            self._stub.FailProposal, request, repeatable=True, timeout_seconds=timeout_seconds
        )

    async def resolve(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        done: bool,
        reason: str,
        retry: bool = False,
        result: Struct | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
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
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._stub.ResolveProposal, request, repeatable=True)
