"""The ceiling: a bare grpc.aio server that answers a payload with itself. No interceptors, no database."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc


async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)  # bytes in, bytes out: no codec
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("plangate.bench.EchoService", {"Echo": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(0.1)


if __name__ == "__main__":
    asyncio.run(serve())
