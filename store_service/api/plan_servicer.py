"""plangate.store.v1.PlanService."""

from __future__ import annotations

from typing import Any

from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1 import store_service_pb2_grpc

from store_service.api.call import Context, Encoded, ResourceServicer, viewing
from store_service.domain import limits
from store_service.messages.answers import consequences_to_bytes, page_to_bytes
from store_service.messages.queries import listing_from_proto
from store_service.queries import PLAN_FIELDS


class PlanServicer(ResourceServicer, store_service_pb2_grpc.PlanServiceServicer):
    """Plans, and the durable queue that planners take them from."""

    async def GetPlan(self, request: rpc.GetPlanRequest, context: Context) -> Encoded:
        viewer = viewing(request, self._clock)
        limits.resource_id("id", request.id)
        return await self._reader.plan(request.id, viewer)

    async def ListPlans(self, request: rpc.ListPlansRequest, context: Context) -> Encoded:
        listing = listing_from_proto(request, PLAN_FIELDS, viewing(request, self._clock))
        page = await self._reader.list_plans(listing.query)
        return page_to_bytes(page.resources, listing.token(page.next_after))

    async def CancelPlan(self, request: rpc.CancelPlanRequest, context: Context) -> Encoded:
        answer = await self._execute(request, context)
        return answer.snapshots[0] + consequences_to_bytes(answer.consequences)

    async def _write(self, request: Any, context: Context) -> Encoded:
        """A write that answers with the one plan it changed."""
        return (await self._execute(request, context)).snapshots[0]

    CreatePlan = DeletePlan = RenewPlanLease = CompletePlanning = FailPlanning = _write
    ClaimPlans = ResourceServicer._claim
