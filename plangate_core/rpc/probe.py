"""`python -m plangate_core.rpc.probe HOST:PORT [SERVICE]`: exit status 0 when the server says SERVING, 1 otherwise.

For container health checks: it needs no token, and takes TLS from the same environment as every client.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_core.rpc.channel import ChannelRefused, open_channel
from plangate_core.rpc.settings import ChannelSettings

TIMEOUT_SECONDS = 3.0


async def probe(target: str, service: str = "") -> str:
    """Return the serving status by name, for example "SERVING". Raises grpc.aio.AioRpcError, ChannelRefused,
    SettingsRefused."""
    async with open_channel(target, read_settings(ChannelSettings)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def main(arguments: list[str]) -> int:
    """Print the status of the server named by `arguments` and return the exit status."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m plangate_core.rpc.probe HOST:PORT [SERVICE]", file=sys.stderr)
        return 2
    try:
        status = asyncio.run(probe(*arguments))
    except grpc.aio.AioRpcError as error:
        status = error.code().name
    except (ChannelRefused, SettingsRefused) as error:
        status = str(error)
    print(status)
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
