"""The store's PlanService: plans, and the durable queue that planners take them from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Unpack

import grpc
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2
from plangate.store.v1.store_service_pb2_grpc import PlanServiceStub

from plangate_client.calls import Calls, ListOptions, WriteOptions, duration, identified, new_request_id


class Plans:
    """Every method raises PlangateError's types. A write without `request_id` gets one of its own."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = PlanServiceStub(channel)
        self._calls = calls

    async def create(
        self, plan: plan_pb2.Plan, *, timeout_seconds: float | None = None, **options: Unpack[WriteOptions]
    ) -> plan_pb2.Plan:
        """Store a plan and the proposals of its jobs in one transaction."""
        request = store_pb2.CreatePlanRequest(plan=plan, **identified(options))
        return await self._calls.unary(self._stub.CreatePlan, request, timeout_seconds=timeout_seconds)

    async def get(self, plan_id: str, *, timeout_seconds: float | None = None) -> plan_pb2.Plan:
        """Return one plan."""
        request = store_pb2.GetPlanRequest(id=plan_id)
        return await self._calls.unary(self._stub.GetPlan, request, timeout_seconds=timeout_seconds)

    async def list_page(
        self, *, page_token: str = "", timeout_seconds: float | None = None, **options: Unpack[ListOptions]
    ) -> store_pb2.ListPlansResponse:
        """Return one page."""
        request = store_pb2.ListPlansRequest(page_token=page_token, **options)
        return await self._calls.unary(self._stub.ListPlans, request, timeout_seconds=timeout_seconds)

    def list_all(self, **options: Unpack[ListOptions]) -> AsyncIterator[plan_pb2.Plan]:
        """All that match."""
        request = store_pb2.ListPlansRequest(**options)
        return self._calls.pages(self._stub.ListPlans, request, lambda page: page.plans)

    async def cancel(
        self, plan_id: str, *, reason: str = "", expected_version: int = 0, **options: Unpack[WriteOptions]
    ) -> plan_pb2.Plan:
        """Cancel a plan and its proposals that are not final."""
        request = store_pb2.CancelPlanRequest(
            id=plan_id, expected_version=expected_version, reason=reason, **identified(options)
        )
        return await self._calls.unary(self._stub.CancelPlan, request)

    async def delete(
        self,
        plan_id: str,
        *,
        purge: bool = False,
        comment: str = "",
        expected_version: int = 0,
        **options: Unpack[WriteOptions],
    ) -> plan_pb2.Plan:
        """Hide a plan with its proposals, or remove them for good."""
        request = store_pb2.DeletePlanRequest(
            id=plan_id, expected_version=expected_version, purge=purge, comment=comment, **identified(options)
        )
        return await self._calls.unary(self._stub.DeletePlan, request)

    async def claim(
        self,
        *,
        max_plans: int = 1,
        lease_seconds: float | None = None,
        wait_seconds: float | None = None,
        request_id: str | None = None,
    ) -> list[plan_pb2.Plan]:
        """Lease queued plans; waits up to `wait_seconds` for one to appear."""
        request = store_pb2.ClaimPlansRequest(
            max_plans=max_plans,
            lease_duration=duration(lease_seconds),
            wait_duration=duration(wait_seconds),
            request_id=request_id or new_request_id(),
        )
        response = await self._calls.unary(
            self._stub.ClaimPlans,
            request,
            timeout_seconds=(wait_seconds or 0.0) + self._calls.call_policy.timeout_seconds,
        )
        return [*response.plans]

    async def renew_lease(
        self,
        plan_id: str,
        *,
        attempt: int,
        lease_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> plan_pb2.Plan:
        """Prolong the lease on a plan."""
        request = store_pb2.RenewPlanLeaseRequest(id=plan_id, attempt=attempt, lease_duration=duration(lease_seconds))
        return await self._calls.unary(self._stub.RenewPlanLease, request, timeout_seconds=timeout_seconds)

    async def complete_planning(
        self,
        plan_id: str,
        *,
        attempt: int,
        plan: plan_pb2.Plan,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> plan_pb2.Plan:
        """Store what was generated for a claimed plan, with its proposals, in one transaction."""
        request = store_pb2.CompletePlanningRequest(
            id=plan_id, attempt=attempt, plan=plan, request_id=request_id or new_request_id()
        )
        return await self._calls.unary(self._stub.CompletePlanning, request, timeout_seconds=timeout_seconds)

    async def fail_planning(
        self,
        plan_id: str,
        *,
        attempt: int,
        failure: plan_pb2.Failure,
        generation: plan_pb2.GenerationReport | None = None,
        retryable: bool = False,
        retry_delay_seconds: float | None = None,
        interrupted: bool = False,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> plan_pb2.Plan:
        """Give a claimed plan up.

        :param interrupted: the planner is stopped: QUEUED again, and the attempt does not count.
        """
        request = store_pb2.FailPlanningRequest(
            id=plan_id,
            attempt=attempt,
            failure=failure,
            generation=generation,
            retryable=retryable,
            retry_delay=duration(retry_delay_seconds),
            interrupted=interrupted,
            request_id=request_id or new_request_id(),
        )
        return await self._calls.unary(self._stub.FailPlanning, request, timeout_seconds=timeout_seconds)
