"""A relay of gRPC calls that answers some with a failure, before or after they reached the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from plangate_core.rpc.status import STATUS_DETAILS_KEY, RpcFailure, to_rpc_status

Failing = Callable[[str], RpcFailure | None]
"""The name of a method -> what its caller hears instead of the server's answer; None: that answer."""


class FailingRelay(grpc.GenericRpcHandler):
    """Passes unary calls on to `target` as they are, but for those that `failing` wants to fail."""

    def __init__(self, target: str, failing: Failing, *, passes_on: bool) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._failing = failing
        self._passes_on = passes_on
        self.requests: dict[str, list[bytes]] = {}
        """All that came: method -> requests."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        name = method.rpartition("/")[2]

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            self.requests.setdefault(name, []).append(request)
            failure = self._failing(name)
            if failure is not None and not self._passes_on:
                await _fail(context, failure)
            passed = tuple((key, value) for key, value in metadata or () if key != "user-agent")
            try:
                call = self._channel.unary_unary(method)
                answer: bytes = await call(request, metadata=passed, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                trailing: Any = error.trailing_metadata()
                await context.abort(error.code(), error.details() or "", tuple(trailing))
            if failure is not None:
                await _fail(context, failure)
            return answer

        return grpc.unary_unary_rpc_method_handler(pass_on)

    def calls(self, method: str) -> int:
        """How many of this method came so far."""
        return len(self.requests.get(method, ()))

    async def start(self) -> None:
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(0)
        await self._channel.close()


async def _fail(context: grpc.aio.ServicerContext[bytes, bytes], failure: RpcFailure) -> None:
    # A failure without a reason is one that gRPC made itself.
    details = to_rpc_status(failure).SerializeToString()
    await context.abort(failure.code, failure.message, ((STATUS_DETAILS_KEY, details),) if failure.reason else ())


@contextlib.asynccontextmanager
async def failing_relay(target: str, failing: Failing, *, passes_on: bool = False) -> AsyncIterator[FailingRelay]:
    """A relay in front of this address until the end of the block.

    :param passes_on: what fails has happened all the same: only its answer is lost.
    """
    relay = FailingRelay(target, failing, passes_on=passes_on)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
