"""The ceiling: a bare grpc.aio server that answers a payload with itself. No interceptors, no database."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from bench.processes import serve


async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def main() -> None:
    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)  # bytes in, bytes out: no codec
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("plangate.bench.EchoService", {"Echo": handler}),)
    )
    await serve(server)


if __name__ == "__main__":
    asyncio.run(main())
