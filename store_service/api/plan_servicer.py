"""plangate.store.v1.PlanService."""

from __future__ import annotations

from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1 import store_service_pb2_grpc

from plangate_core.process.clock import Clock
from store_service.api.call import Context, Encoded, Writes, allowed, deadline_of, viewing, waiting_time
from store_service.database.reader import Reader
from store_service.messages import commands as decode
from store_service.messages.answers import consequences_to_bytes, plan_page_to_bytes, repeated_to_bytes
from store_service.messages.decoding import resource_id_from_proto
from store_service.messages.queries import resource_listing
from store_service.queries import PLAN_FIELDS


class PlanServicer(store_service_pb2_grpc.PlanServiceServicer):
    """Plans, and the durable queue that planners take them from."""

    def __init__(self, writer: Writes, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def CreatePlan(self, request: rpc.CreatePlanRequest, context: Context) -> Encoded:
        actor, _ = allowed("CreatePlan")
        answer = await self._writer.execute(decode.create_plan(request, actor), deadline=deadline_of(context))
        return answer.snapshots[0]

    async def GetPlan(self, request: rpc.GetPlanRequest, context: Context) -> Encoded:
        viewer = viewing("GetPlan", self._clock)
        return await self._reader.plan(resource_id_from_proto(request.id), viewer)

    async def ListPlans(self, request: rpc.ListPlansRequest, context: Context) -> Encoded:
        listing = resource_listing(request, PLAN_FIELDS, viewing("ListPlans", self._clock))
        page = await self._reader.list_plans(listing.query)
        return plan_page_to_bytes(page, listing.token(page.next_after))

    async def CancelPlan(self, request: rpc.CancelPlanRequest, context: Context) -> Encoded:
        actor, only_creator = allowed("CancelPlan")
        command = decode.cancel_plan(request, actor, only_creator=only_creator)
        answer = await self._writer.execute(command, deadline=deadline_of(context))
        return answer.snapshots[0] + consequences_to_bytes(answer.consequences)

    async def DeletePlan(self, request: rpc.DeletePlanRequest, context: Context) -> Encoded:
        actor, only_creator = allowed("DeletePlan")
        command = decode.delete_plan(request, actor, only_creator=only_creator)
        return (await self._writer.execute(command, deadline=deadline_of(context))).snapshots[0]

    async def ClaimPlans(self, request: rpc.ClaimPlansRequest, context: Context) -> Encoded:
        actor, _ = allowed("ClaimPlans")
        answer = await self._writer.execute_waiting(
            decode.claim_plans(request, actor),
            wait_seconds=waiting_time(decode.wait_seconds(request), context),
            deadline=deadline_of(context),
        )
        return repeated_to_bytes(rpc.ClaimPlansResponse.PLANS_FIELD_NUMBER, answer.snapshots)

    async def RenewPlanLease(self, request: rpc.RenewPlanLeaseRequest, context: Context) -> Encoded:
        actor, _ = allowed("RenewPlanLease")
        command = decode.renew_plan_lease(request, actor)
        return (await self._writer.execute(command, deadline=deadline_of(context))).snapshots[0]

    async def CompletePlanning(self, request: rpc.CompletePlanningRequest, context: Context) -> Encoded:
        actor, _ = allowed("CompletePlanning")
        command = decode.complete_planning(request, actor)
        return (await self._writer.execute(command, deadline=deadline_of(context))).snapshots[0]

    async def FailPlanning(self, request: rpc.FailPlanningRequest, context: Context) -> Encoded:
        actor, _ = allowed("FailPlanning")
        command = decode.fail_planning(request, actor)
        return (await self._writer.execute(command, deadline=deadline_of(context))).snapshots[0]
