"""plangate.store.v1.IdentityService."""

from __future__ import annotations

from plangate.store.v1 import identity_service_pb2 as rpc
from plangate.store.v1 import identity_service_pb2_grpc

from plangate_core.rpc.identity.caller import current_caller
from store_service.api.call import Context, allowed


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Who the caller is to the store."""

    async def WhoAmI(self, request: rpc.WhoAmIRequest, context: Context) -> rpc.WhoAmIResponse:
        allowed(request)
        caller = current_caller()
        return rpc.WhoAmIResponse(
            identity=caller.identity, roles=sorted(caller.roles), authenticated=caller.authenticated
        )
