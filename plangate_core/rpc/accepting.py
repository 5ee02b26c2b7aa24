"""Takes calls as fast as they come.

grpc.aio asks its core for one call at a time and method, waits for all methods anew with every call, and goes five or
six times round the event loop before it asks for the next one. On a busy loop calls queue up there, outside of any
limit of ours, while their turn takes milliseconds each: a store that asked for two at a time made 2,700 creates a
second where 64 at a time made 4,100.

There is no public way to ask for more. So this reaches into grpcio, and only into versions that it was tried with
(`TRIED`; docs/decisions/0014-taking-calls.md). With any other version calls are taken as grpc.aio takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server as grpc_server

TRIED = ("1.85",)
"""Versions of grpcio, without their patch number."""

_ASKED_FOR = 64
"""Calls of a method that are asked for at the same time, once the first one came. Each takes some four kilobytes."""

Option: TypeAlias = tuple[str, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Wraps(Protocol):
    """A grpc.aio.ServerInterceptor that can also wrap a handler once instead of being asked at each call."""

    def wrapped(self, method: str, handler: Handler) -> Handler: ...


def open_server(interceptor: Wraps, options: Sequence[Option], tried: Sequence[str] = TRIED) -> Any:
    """A grpc.aio.Server to which servicers can be added, on the running event loop."""
    if grpc.__version__.rpartition(".")[0] in tried:
        return _PromptServer(interceptor, options)
    interceptors: Any = [interceptor]
    return _GenericOnly(grpc.aio.server(interceptors=interceptors, options=options))


class _PromptServer(grpc_server.Server):
    """grpc.aio's server around a core of ours."""

    def __init__(self, interceptor: Wraps, options: Sequence[Option]) -> None:
        # Not the base's: it would make a core of its own, which is only freed when it is stopped.
        self._loop = cygrpc.get_working_loop()
        arguments = grpc_server._augment_channel_arguments(tuple(options), None)
        self._server = _PromptCore(self._loop, None, (), (interceptor,), arguments, None)


class _PromptCore(cygrpc.AioServer):  # type: ignore[misc]
    """Asks for calls of each registered method by itself; leaves to the base what is not registered."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_pool: None,
        generic_handlers: tuple[()],
        interceptors: tuple[Wraps],
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
        """What the base waits for: of registered methods in vain, until the server ends."""
        if method is None:
            calls: asyncio.Future[Any] = super()._make_request_call_future(None)
            return calls
        self._begin_taking(method, first=True)
        return self._event_loop.create_future()

    def _begin_taking(self, method: bytes, *, first: bool = False) -> None:
        self._keep(self._take(method, first=first)).add_done_callback(self._serving_task_crash_handler)

    async def _take(self, method: bytes, *, first: bool) -> None:
        """Takes one call of the method after the other, and begins to serve it, until the server stops.

        first: nobody takes any yet. Others begin with the first call, as most methods of a server are never called.
        """
        loop, name, handler = self._event_loop, method.decode(), self._handlers[method]
        serve = _serving(handler)
        while self.is_running():
            try:
                call = await self._request_registered_call(method)
            except cygrpc._RequestCallError:
                # The server stops, or the call was gone before it was taken.
                continue
            # Not through _handle_rpc: looking for the handler, it leaves a circle of objects at each call, which only
            # the garbage collector frees, thousands at a time, while everybody waits (15 to 40 ms).
            self._keep(cygrpc._schedule_rpc_coro(serve(handler, call, loop), call, loop, name))
            if first:
                first = False
                for _ in range(_ASKED_FOR - 1):
                    self._begin_taking(method)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # The loop itself holds tasks only weakly.
        task = self._event_loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _serving(handler: Handler) -> Callable[[Handler, Any, asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]:
    requests = "stream" if handler.request_streaming else "unary"
    responses = "stream" if handler.response_streaming else "unary"
    return getattr(cygrpc, f"_handle_{requests}_{responses}_rpc")  # type: ignore[no-any-return]


class _GenericOnly:
    """A grpc.aio server without registered methods, for versions of grpcio that `TRIED` does not name.

    What generated add_..._to_server functions add is added twice: to a generic handler, and as a registered method. For
    every call grpc.aio waits for all registered methods anew (one asyncio.wait over a task per method), which with the
    store's forty took a tenth of the loop's time. The generic handler alone serves the same calls.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_registered_method_handlers(self, service_name: str, handlers: object) -> None:
        """Nothing: see above."""
