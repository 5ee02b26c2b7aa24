"""grpc.health.v1.Health with List, which grpcio's servicer does not implement."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2

SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """Health by name: "" for the whole server, services by their full names, and names of parts that can fail alone."""

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()

    async def set_serving(self, name: str, serving: bool) -> None:
        """Set the status of one name. Ignored once the server drains."""
        self._names.add(name)
        await self.set(name, _SERVING if serving else _NOT_SERVING)

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        """The status of every name that was set."""
        statuses = {
            name: await self.Check(health_pb2.HealthCheckRequest(service=name), context) for name in sorted(self._names)
        }
        return health_pb2.HealthListResponse(statuses=statuses)
