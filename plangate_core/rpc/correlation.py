"""What ties a call to the one that caused it: request id, requester, trace context. Light: every client loads it."""

from __future__ import annotations

from contextvars import ContextVar

from opentelemetry import propagate, trace

REQUEST_ID_KEY = "x-request-id"

# Metadata of a service's call: the person it is made for.
ON_BEHALF_OF_KEY = "x-plangate-on-behalf-of"

# Metadata of a call whose request_id was made for it: nobody sent it before, so there is no earlier answer to look for.
NEW_REQUEST_KEY = "x-plangate-new-request"

_current_request_id: ContextVar[str] = ContextVar("plangate_request_id", default="")


def current_request_id() -> str:
    """The x-request-id of the RPC that this code runs in, or ""."""
    return _current_request_id.get()


def set_current_request_id(request_id: str) -> None:
    """For the server interceptor, and for background work that wants its log lines to hang together."""
    _current_request_id.set(request_id)


def tracing_is_configured() -> bool:
    """Whether the process has a tracer that keeps anything: without one, calls need not pay for spans."""
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The current trace context as metadata for an outgoing call; empty without a configured tracer."""
    if not tracing_is_configured():
        return ()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
