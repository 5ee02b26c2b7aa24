"""A relay of gRPC calls that loses some: they never reach the server, and the caller hears nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc


class LossyRelay(grpc.GenericRpcHandler):
    """Passes unary calls on to `target` as they are, but for every other call of the method `loses`."""

    def __init__(self, target: str, loses: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._loses = loses
        self.called = 0
        """Calls of the method so far. The first is lost, the second is not, and so on."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            if method.endswith(f"/{self._loses}"):
                self.called += 1
                if self.called % 2:
                    await asyncio.Event().wait()
            passed = tuple((key, value) for key, value in metadata or () if key != "user-agent")
            try:
                call = self._channel.unary_unary(method)
                return await call(request, metadata=passed, timeout=context.time_remaining())  # type: ignore[no-any-return]
            except grpc.aio.AioRpcError as error:
                trailing: Any = error.trailing_metadata()
                await context.abort(error.code(), error.details() or "", tuple(trailing))

        return grpc.unary_unary_rpc_method_handler(pass_on)

    async def start(self) -> None:
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(0)
        await self._channel.close()


@contextlib.asynccontextmanager
async def lossy_relay(target: str, *, loses: str) -> AsyncIterator[LossyRelay]:
    """A relay in front of this address until the end of the block."""
    relay = LossyRelay(target, loses)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
