"""Logs, metrics and traces. They see no prompts, arguments or tokens: a call is its method and its request id."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO, cast

import structlog
from opentelemetry import propagate, trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from structlog.typing import EventDict, Processor, WrappedLogger

from plangate_core.rpc.address import split_host_port
from plangate_core.rpc.correlation import current_request_id, tracing_is_configured
from plangate_core.rpc.settings import LoggingSettings, ServerSettings


def configure_logging(settings: LoggingSettings) -> None:
    """Send structlog's and the standard library's records to standard error, one line each, with the request id.

    Process-wide: call it once, in a main function.
    """
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor]
    if settings.log_format == "json":
        # Frames' local variables hold prompts and arguments: tracebacks name places only.
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
        last = [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
    else:
        last = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _LossyFile(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak at warning and above: their info lines may hold SQL and arguments.
    root.setLevel(max(level, logging.WARNING))
    warnings.showwarning = _log_warning


class _LossyFile:
    """A file that drops lines it cannot write (full disk, closed pipe): logging must not fail the call it is about."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Where Python warns, and of what kind. Not its text: pydantic's warnings quote the values they are about."""
    structlog.get_logger("plangate_core").warning("python warns", kind=category.__name__, place=f"{filename}:{lineno}")


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = current_request_id()
    if request_id:
        event.setdefault("request_id", request_id)
    return event


class RpcMetrics:
    """What the interceptor counts, in a registry of its own; services add theirs to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._handled = Counter("plangate_rpc_handled", "Calls that ended", ("method", "code"), registry=self.registry)
        self._seconds = Histogram(
            "plangate_rpc_seconds",
            "From first handling a call to its end",
            ("method",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self._in_flight = Gauge("plangate_rpc_in_flight", "Calls being handled", ("kind",), registry=self.registry)
        # labels() costs more than inc(): children are kept.
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count_in_flight(self, kind: str, number: int) -> None:
        """Say how many calls of this kind ("unary", "stream") are being handled now."""
        self._in_flight.labels(kind).set(number)

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Count one call that ended."""
        counter = self._counters.get((method, code))
        if counter is None:
            counter = self._counters[(method, code)] = self._handled.labels(method, code)
        counter.inc()
        histogram = self._histograms.get(method)
        if histogram is None:
            histogram = self._histograms[method] = self._seconds.labels(method)
        histogram.observe(seconds)


class TelemetryRefused(Exception):
    """Traces and metrics cannot be given out as the settings ask; the message says why, on one line."""


@contextmanager
def serving_metrics(address: str | None, registry: CollectorRegistry) -> Iterator[None]:
    """Serve the registry at /metrics on "host:port" until the end of the block, if there is an address.

    Prometheus asks a thread of its own. Raises TelemetryRefused.
    """
    if address is None:
        yield
        return
    try:
        host, port = split_host_port(address)
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, ValueError) as error:
        raise TelemetryRefused(f"cannot serve metrics on {address}: {error}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def configure_tracing(otlp_endpoint: str | None, service_name: str) -> None:
    """Export spans by OTLP over gRPC to "http(s)://host:port"; without an endpoint there are no spans and no cost.

    Process-wide: call it once, in a main function, before servers are made. Raises TelemetryRefused.
    """
    if otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        raise TelemetryRefused(
            "PLANGATE_OTLP_ENDPOINT needs the extra `otlp` (in a clone: pip install '.[otlp]')"
        ) from missing
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https://"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def sending_metrics(settings: ServerSettings, service_name: str, metrics: RpcMetrics | None) -> Iterator[None]:
    """Send the registry of `metrics` by OTLP until the end of the block, where the settings ask for it.

    Call configure_tracing before: it raises where the extra is missing.
    """
    if metrics is None or settings.otlp_endpoint is None or not settings.sends_metrics:
        yield
        return
    from plangate_core.rpc.otlp_metrics import sending

    with sending(settings.otlp_endpoint, service_name, metrics.registry, settings.otlp_metrics_seconds):
        yield


@contextmanager
def child_span(
    name: str, attributes: Mapping[str, str | int], kind: trace.SpanKind = trace.SpanKind.INTERNAL
) -> Iterator[trace.Span]:
    """A child of the current span until the end of the block. Nothing without a tracer.

    Exceptions leave no trace in it: their texts may hold what no trace may see.
    """
    if not tracing_is_configured():
        yield trace.INVALID_SPAN
        return
    with trace.get_tracer("plangate.rpc").start_as_current_span(
        name,
        kind=kind,
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def rpc_span(method: str, metadata: Mapping[str, str | bytes]) -> trace.Span:
    """Begin a server span for a call to "/package.Service/Method", as a child of the caller's span."""
    carrier = {key: value for key, value in metadata.items() if isinstance(value, str)}
    service, _, name = method.lstrip("/").partition("/")
    return trace.get_tracer("plangate.rpc").start_span(
        f"{service}/{name}",
        context=propagate.extract(carrier),
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )
