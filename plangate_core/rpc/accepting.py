"""Accepts calls ahead of the event loop.

grpc.aio requests one call per method at a time from gRPC's core and needs several turns of the event loop before it
requests the next. On a busy loop calls queue in the core, outside of every limit of ours. The server here requests many
calls at once.

There is no public way to do that, so this module uses private names of grpcio, and only in the versions it was tested
with (`TESTED_GRPCIO`). With any other version grpc.aio accepts calls itself. docs/decisions/0014-taking-calls.md says
what that gains and when this module can go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server as grpc_server

TESTED_GRPCIO = ("1.85",)
"""Versions of grpcio, without their patch number."""

_REQUESTED_CALLS = 64
"""Calls of a method that are requested at the same time once the first one came. Each takes about 4 KB."""

Option: TypeAlias = tuple[str, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


class HandlerWrapper(Protocol):
    """A grpc.aio.ServerInterceptor that can also wrap a handler once instead of being asked at each call."""

    def wrapped(self, method: str, handler: Handler) -> Handler: ...

    def refusal(self, method: str, metadata: Metadata) -> Handler | None:
        """The handler that refuses a call with this metadata before its request is read; None to serve the call."""


def open_server(
    interceptor: HandlerWrapper, options: Sequence[Option], tested_grpcio: Sequence[str] = TESTED_GRPCIO
) -> Any:
    """A grpc.aio.Server to which servicers can be added, on the running event loop."""
    if grpc.__version__.rpartition(".")[0] in tested_grpcio:
        return _AheadServer(interceptor, options)
    interceptors: Any = [interceptor]
    return _GenericHandlersServer(grpc.aio.server(interceptors=interceptors, options=options))


class _AheadServer(grpc_server.Server):
    """grpc.aio's server with a core that requests calls ahead."""

    def __init__(self, interceptor: HandlerWrapper, options: Sequence[Option]) -> None:
        # Not the base's: it would make a core of its own, which is only freed when it is stopped.
        self._loop = cygrpc.get_working_loop()
        arguments = grpc_server._augment_channel_arguments(tuple(options), None)
        self._server = _AheadCore(self._loop, None, (), (interceptor,), arguments, None)


class _AheadCore(cygrpc.AioServer):  # type: ignore[misc]
    """Requests calls of each registered method by itself; leaves to the base what is not registered."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_pool: None,
        generic_handlers: tuple[()],
        interceptors: tuple[HandlerWrapper],
        options: object,
        maximum_concurrent_rpcs: None,
    ) -> None:
        super().__init__(loop, thread_pool, generic_handlers, interceptors, options, maximum_concurrent_rpcs)
        self._event_loop = loop
        self._interceptor = interceptors[0]
        self._handlers: dict[bytes, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add_registered_method_handlers(self, method_handlers: dict[str, Handler]) -> None:
        super().add_registered_method_handlers(method_handlers)
        for name, handler in method_handlers.items():
            self._handlers[name.encode()] = self._interceptor.wrapped(name, handler)

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """The future that the base waits for. Of registered methods it stays pending until the server ends."""
        if method is None:
            calls: asyncio.Future[Any] = super()._make_request_call_future(None)
            return calls
        self._begin_accepting(method, first=True)
        return self._event_loop.create_future()

    def _begin_accepting(self, method: bytes, *, first: bool = False) -> None:
        self._keep(self._accept(method, first=first)).add_done_callback(self._serving_task_crash_handler)

    async def _accept(self, method: bytes, *, first: bool) -> None:
        """Accept one call of the method after the other and start serving it, until the server stops.

        first: the only task for this method so far. The others start with the first call: most methods of a server are
        never called.
        """
        name, handler = method.decode(), self._handlers[method]
        while self.is_running():
            try:
                # Bound to no name here: a call would be kept, with all its metadata, until the next one comes.
                self._serve(name, handler, await self._request_registered_call(method))
            except cygrpc._RequestCallError:
                # The server stops, or the call was cancelled before it was accepted.
                continue
            if first:
                first = False
                for _ in range(_REQUESTED_CALLS - 1):
                    self._begin_accepting(method)

    def _serve(self, name: str, handler: Handler, call: Any) -> None:
        """Start serving one call."""
        loop = self._event_loop
        # gRPC's handlers of unary requests wait for the request before anybody sees the metadata.
        metadata = cygrpc._ServicerContext(call, None, None, loop).invocation_metadata()
        serving = self._interceptor.refusal(name, metadata) or handler
        # Not through _handle_rpc: its search for the handler leaves a reference cycle at each call, and collecting
        # thousands of them stops the loop for 15 to 40 ms.
        self._keep(cygrpc._schedule_rpc_coro(_serving(serving)(serving, call, loop), call, loop, name))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # The loop holds tasks only weakly.
        task = self._event_loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _serving(handler: Handler) -> Callable[[Handler, Any, asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]:
    requests = "stream" if handler.request_streaming else "unary"
    responses = "stream" if handler.response_streaming else "unary"
    return getattr(cygrpc, f"_handle_{requests}_{responses}_rpc")  # type: ignore[no-any-return]


class _GenericHandlersServer:
    """A grpc.aio server without registered methods, for versions of grpcio that `TESTED_GRPCIO` does not name.

    Generated add_..._to_server functions add each servicer twice: to a generic handler, and as registered methods. For
    every call grpc.aio waits for all registered methods anew, which takes a tenth of the loop's time with the store's
    forty. The generic handler alone serves the same calls.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_registered_method_handlers(self, service_name: str, handlers: object) -> None:
        """Does nothing: the generic handler serves these methods."""
