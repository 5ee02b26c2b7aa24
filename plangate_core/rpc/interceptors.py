"""Everything that is done around every call, in one interceptor: each further one would cost a coroutine per call.

Around a handler, from outside in: request id, access log, metrics; draining and concurrency limit; authentication;
deadline guard; request size and form; span; error mapping. Handlers are wrapped once per method, not once per call.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Never, TypeAlias

import grpc
import structlog
from opentelemetry import trace

from plangate_core.rpc.calls import CallsInFlight, draining
from plangate_core.rpc.correlation import (
    REQUEST_ID_KEY,
    current_request_id,
    set_current_request_id,
    tracing_is_configured,
)
from plangate_core.rpc.identity.authenticator import Authenticator
from plangate_core.rpc.identity.caller import current_caller, set_current_caller
from plangate_core.rpc.identity.web_tokens import KeysNeeded
from plangate_core.rpc.messages import Behaviour, Unreadable, decoding, encoding, reading, writing
from plangate_core.rpc.metadata import Metadata, refuse_repeated_identity, too_large
from plangate_core.rpc.status import STATUS_DETAILS_KEY, RpcFailure, internal, to_rpc_status
from plangate_core.rpc.telemetry import RpcMetrics, rpc_span

MapError: TypeAlias = Callable[[Exception], RpcFailure | None]
"""Turns a service's typed errors into failures; None for those it does not know, which become INTERNAL."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_HEALTH_PREFIX = "/grpc.health.v1.Health/"
_REQUEST_ID_CHARACTERS = 128
_ABOUT_US = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
_FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
_STRAINS = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Part of normal work under contention: a line each would cost more than the call.
_EVERYDAY = {grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND}

_log = structlog.get_logger("plangate_core")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server. Handlers may return messages, or bytes that are messages already encoded."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        map_error: MapError,
        calls: CallsInFlight,
        metrics: RpcMetrics | None,
        endless_methods: frozenset[str],
        min_remaining_seconds: float,
        max_request_bytes: int,
    ) -> None:
        self._authenticator = authenticator
        self._map_error = map_error
        self._calls = calls
        self._metrics = metrics
        self._endless_methods = endless_methods
        self._min_remaining_seconds = min_remaining_seconds
        self._max_request_bytes = max_request_bytes
        self._wrapped: dict[str, _Handler] = {}
        self._request_ids = _request_ids()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        method = handler_call_details.method
        refusing = self.refusal(method, handler_call_details.invocation_metadata or ())
        if refusing is not None:
            return refusing
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self.wrapped(method, handler)
        return wrapped

    def refusal(self, method: str, metadata: Metadata) -> _Handler | None:
        """A handler that refuses the call without reading its request, if there is too much metadata."""
        failure = too_large(metadata)
        if failure is None:
            return None

        async def refuse(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            self._ended(method, "", failure, 0.0)
            await _abort(context, failure, self._request_ids.__next__())

        return grpc.stream_unary_rpc_method_handler(refuse)

    def wrapped(self, method: str, handler: _Handler) -> _Handler:
        """The handler with everything around it."""
        encode = encoding(handler.response_serializer)
        decode = decoding(handler.request_deserializer, self._max_request_bytes)
        kinds: Any = handler
        if not handler.response_streaming:
            answer = kinds.stream_unary or kinds.unary_unary
            run = self._around(method, reading(answer) if handler.request_streaming else answer, stream=False)
            if handler.request_streaming:
                return grpc.stream_unary_rpc_method_handler(run, decode, encode)
            return grpc.unary_unary_rpc_method_handler(run, decode, encode)
        streaming = kinds.stream_stream or kinds.unary_stream
        if inspect.isasyncgenfunction(streaming):
            streaming = writing(streaming)
        run = self._around(method, reading(streaming) if handler.request_streaming else streaming, stream=True)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(run, decode, encode)
        return grpc.unary_stream_rpc_method_handler(run, decode, encode)

    def _around(self, method: str, behaviour: Behaviour, *, stream: bool) -> Behaviour:
        exempt = method.startswith(_HEALTH_PREFIX)
        endless = method in self._endless_methods
        calls, authenticate = self._calls, self._authenticator.authenticate
        new_request_id = self._request_ids.__next__
        min_remaining_seconds = self._min_remaining_seconds
        if tracing_is_configured() and not exempt:
            behaviour = self._traced(method, behaviour)

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = time.perf_counter()
            pairs = tuple(context.invocation_metadata() or ())
            metadata: dict[str, str | bytes] = dict(pairs)
            request_id = metadata.get(REQUEST_ID_KEY)
            if not isinstance(request_id, str) or not 0 < len(request_id) <= _REQUEST_ID_CHARACTERS:
                request_id = new_request_id()
            set_current_request_id(request_id)
            task = asyncio.current_task()
            assert task is not None
            code, failure = "OK", None
            try:
                calls.begin(task, stream=stream, endless=endless, exempt=exempt)
                if not exempt:
                    if len(metadata) != len(pairs):
                        refuse_repeated_identity(pairs)
                    try:
                        caller = authenticate(metadata, context.auth_context)
                    except KeysNeeded as needed:
                        await needed.keys.refresh()
                        caller = authenticate(metadata, context.auth_context, may_wait=False)
                    set_current_caller(caller)
                    remaining = context.time_remaining()
                    if remaining is not None and remaining < min_remaining_seconds:
                        raise _deadline_too_short(remaining)
                if isinstance(request, Unreadable):
                    raise request.failure()
                if stream:
                    await context.send_initial_metadata(((REQUEST_ID_KEY, request_id),))
                else:
                    # Initial metadata would cost a unary call a batch of its own: it goes with the answer instead.
                    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
                return await behaviour(request, context)
            except asyncio.CancelledError:
                if not calls.was_ended_by_us(task):
                    code = "CANCELLED"
                    raise
                # Not the client's doing: answer, or it would wait for its deadline.
                task.uncancel()
                failure = draining()
            except grpc.aio.AbortError:
                code = _code_name(context.code())
                raise
            except grpc.aio.InternalError:
                # A message could not be sent: the client is gone, though gRPC has not cancelled the call yet.
                code = "CANCELLED"
                raise asyncio.CancelledError from None
            except Exception as error:
                failure = self._failure(method, request_id, error)
            finally:
                calls.end(task, stream=stream)
                self._ended(method, code, failure, time.perf_counter() - started)
            return await _abort(context, failure, request_id)

        return call

    def _failure(self, method: str, request_id: str, error: Exception) -> RpcFailure:
        failure = error if isinstance(error, RpcFailure) else self._map_error(error)
        if failure is None:
            _log.error("call failed", method=method, exc_info=error)
            return internal(request_id)
        if failure is not error and failure.code in _ABOUT_US:
            # The client is told that something was away, the log why.
            _log.warning("call failed", method=method, reason=failure.reason, cause=_cause(error))
        return failure

    def _ended(self, method: str, code: str, failure: RpcFailure | None, seconds: float) -> None:
        if failure is None:
            _log.debug("call", method=method, code=code, seconds=round(seconds, 6))
        else:
            code = failure.code.name
            log = _log.info
            if failure.code in _FAULTS:
                log = _log.error
            elif failure.code in _STRAINS:
                log = _log.warning
            elif failure.code in _EVERYDAY:
                log = _log.debug
            log("call refused", method=method, code=code, reason=failure.reason, seconds=round(seconds, 6))
        if self._metrics is not None:
            self._metrics.ended(method, code, seconds)

    def _traced(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Errors are mapped inside the span: outside, it would end without a status."""

        async def traced(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            span = rpc_span(method, dict(context.invocation_metadata() or ()))
            with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                span.set_attribute("enduser.id", current_caller().identity)
                try:
                    answer = await behaviour(request, context)
                except Exception as error:
                    failure = self._failure(method, current_request_id(), error)
                    span.set_status(trace.Status(trace.StatusCode.ERROR, failure.reason))
                    span.set_attribute("rpc.grpc.status_code", failure.code.value[0])
                    raise failure from error
                span.set_attribute("rpc.grpc.status_code", 0)
                return answer

        return traced


async def _abort(context: grpc.aio.ServicerContext[Any, Any], failure: RpcFailure, request_id: str) -> Never:
    """End the call with the failure. Raises grpc.aio.AbortError, or CancelledError if the client is gone."""
    status = to_rpc_status(failure)
    try:
        await context.abort(
            failure.code,
            # The status's message, which was cut: it is sent percent-encoded, and clients take 16 KiB of metadata.
            status.message,
            ((STATUS_DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, request_id)),
        )
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


def _request_ids() -> Iterator[str]:
    """Ids that nobody else gives: drawing each from the system would take longer than all else around a call."""
    process = uuid.uuid4().hex[:20]
    return (f"{process}-{number}" for number in itertools.count(1))


def _cause(error: Exception) -> str:
    """For the log. Errors may carry it as `problem` where there is no exception behind them."""
    cause = error.__cause__ or error
    problem = getattr(error, "problem", "") if cause is error else ""
    return f"{type(cause).__name__}: {problem or cause}"


def _code_name(code: object) -> str:
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def _deadline_too_short(remaining_seconds: float) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE_TOO_SHORT",
        "too little time is left to begin",
        metadata={"remaining_ms": str(max(0, int(remaining_seconds * 1000)))},
    )
