"""A gRPC server from start to drain, with health, reflection and limits."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterable

import grpc
import structlog
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2_grpc

from plangate_core.rpc.accepting import open_server
from plangate_core.rpc.address import AddressInvalid, is_local, split_host_port, with_port
from plangate_core.rpc.calls import CallsInFlight
from plangate_core.rpc.health import SERVICE_NAME as HEALTH_SERVICE
from plangate_core.rpc.health import HealthServicer
from plangate_core.rpc.identity.authenticator import Authenticator
from plangate_core.rpc.interceptors import CallInterceptor, MapError
from plangate_core.rpc.reflection import add_reflection
from plangate_core.rpc.settings import ServerSettings
from plangate_core.rpc.telemetry import RpcMetrics, serving_metrics
from plangate_core.rpc.tls import TlsFilesInvalid, server_credentials

# A client that opens and resets calls without pause holds this many at most (docs/laboratory/faults.md). Above the
# default limits of calls and streams together, so that those refuse with a reason first.
_MAX_STREAMS_PER_CONNECTION = 2_048
_MAX_PENDING_CALLS = 4_000
_MAX_CONNECTIONS = 4_096
_SETTINGS_TIMEOUT_MS = 5_000

_log = structlog.get_logger("plangate_core")


class ServerRefused(Exception):
    """The server cannot be started as the settings ask; the message says why, on one line."""


class GrpcServer:
    """One grpc.aio server with everything around the services. Use inside one event loop; start() once, stop() once."""

    def __init__(
        self,
        settings: ServerSettings,
        register: Callable[[grpc.aio.Server], None],
        service_names: Iterable[str],
        map_error: MapError,
        *,
        listen: str,
        endless_methods: Iterable[str] = (),
        metrics: RpcMetrics | None = None,
    ) -> None:
        """`register` adds the servicers; `service_names` are their full names, for health and reflection.

        `endless_methods` ("/package.Service/Method") are streams that never end by themselves: draining ends them at
        once, while other calls get drain_seconds. `metrics` default to new ones when settings ask for any.
        Raises ServerRefused, TokensFileInvalid.
        """
        self._settings = settings
        self._listen = listen
        self._service_names = tuple(service_names)
        self.authenticator = authenticator = Authenticator(settings)
        _check_listen_address(listen, safe=bool(settings.tls_cert_file) and authenticator.authenticates)
        self.metrics = metrics or (RpcMetrics() if settings.has_metrics else None)
        """Counters of calls; services may add theirs to its registry. None unless asked for."""
        self._until_stopped = contextlib.ExitStack()
        self._calls = CallsInFlight(
            max_unary=settings.max_concurrent_calls, max_streams=settings.max_concurrent_streams, metrics=self.metrics
        )
        self._drain_callbacks: list[Callable[[], None]] = []
        self._stop_requested = asyncio.Event()
        self.health = HealthServicer()
        """Services may add names of their own: parts that can fail while the rest works."""
        interceptor = CallInterceptor(
            authenticator=authenticator,
            map_error=map_error,
            calls=self._calls,
            metrics=self.metrics,
            endless_methods=frozenset(endless_methods),
            min_remaining_seconds=settings.min_remaining_seconds,
            max_request_bytes=settings.max_request_bytes,
        )
        self._server: grpc.aio.Server = open_server(interceptor, options=_channel_options(settings))
        register(self._server)
        self._add_shared_services()

    async def start(self) -> int:
        """Bind and take calls; health says NOT_SERVING until set_serving(True). Returns the port (0 for Unix sockets).

        Raises ServerRefused when the address or a TLS file cannot be used, TelemetryRefused.
        """
        await self.set_serving(False)
        try:
            if self._settings.tls_cert_file:
                port = self._server.add_secure_port(self._listen, server_credentials(self._settings))
            else:
                port = self._server.add_insecure_port(self._listen)
        except TlsFilesInvalid as error:
            raise ServerRefused(str(error)) from error
        except RuntimeError as error:
            raise ServerRefused(
                f"cannot listen on {self._listen}: in use, or not an address of this machine"
            ) from error
        if self.metrics:
            self._until_stopped.enter_context(serving_metrics(self._settings.metrics_listen, self.metrics.registry))
        await self._server.start()
        self.address = with_port(self._listen, port)
        return port

    async def set_serving(self, serving: bool) -> None:
        """Set the health of every service and of the server as a whole."""
        for name in ("", *self._service_names):
            await self.health.set_serving(name, serving)

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call this when draining begins, to wake calls that wait for something that will not come any more."""
        self._drain_callbacks.append(callback)

    def request_stop(self) -> None:
        """Make run_until_signal() return as a SIGTERM would."""
        self._stop_requested.set()

    async def run_until_signal(self, stop: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait for SIGTERM, SIGINT or request_stop(), then drain and stop. A second signal ends the drain.

        `stop` is what to do instead of stop(), for services with more to stop than their server.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        stopping = False

        def receive() -> None:
            nonlocal stopping
            if stopping:
                self._calls.cancel_all()
            stopping = True
            self.request_stop()

        for number in signals:
            loop.add_signal_handler(number, receive)
        try:
            await self._stop_requested.wait()
            _log.info("draining")
            await (stop or self.stop)()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Health NOT_SERVING, new calls refused (UNAVAILABLE, DRAINING), endless streams ended, the others finished
        within grace_seconds (default: drain_seconds), then ended too, then the port closed."""
        grace_seconds = self._settings.drain_seconds if grace_seconds is None else grace_seconds
        await self.health.enter_graceful_shutdown()
        self._calls.draining = True
        for callback in self._drain_callbacks:
            callback()
        self._calls.cancel_endless()
        if not await self._calls.wait_until_empty(grace_seconds):
            _log.warning("calls were cut off by the end of the drain time", seconds=grace_seconds)
        self._calls.cancel_all()
        if not await self._calls.wait_until_empty(1.0):
            _log.error("calls did not end when told to")
        if grace_seconds > 0:
            await self._calls.wait_until_quiet(0.05, 1.0)
        # The grace lets answers that handlers have given leave the machine.
        await self._server.stop(0.5)
        await asyncio.to_thread(self._until_stopped.close)

    def _add_shared_services(self) -> None:
        """Health, reflection and, if the settings ask for it, channelz."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        names = [*self._service_names, HEALTH_SERVICE]
        if self._settings.channelz:
            channelz.add_channelz_servicer(self._server)
            names.append(channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
        add_reflection(self._server, names)


def _check_listen_address(listen: str, *, safe: bool) -> None:
    """Raises ServerRefused for what is no address, and for one that other machines reach unless `safe`."""
    if not listen.startswith(("unix:", "unix-abstract:")):
        try:
            split_host_port(listen)
        except AddressInvalid as wrong:
            # gRPC accepts addresses that are none: of port 99999 it makes another port.
            raise ServerRefused(str(wrong)) from None
    if not safe and not is_local(listen):
        raise ServerRefused(
            f"{listen} can be reached from other machines: set PLANGATE_TLS_CERT_FILE, PLANGATE_TLS_KEY_FILE "
            "and PLANGATE_AUTH_TOKENS_FILE, or listen on 127.0.0.1"
        )


def _channel_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """gRPC's limits of connections, streams and sizes, and keepalive."""
    keepalive_timeout_ms = round(settings.keepalive_timeout_seconds * 1000)
    return [
        # A second server on the same port must fail instead of silently sharing it.
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
        ("grpc.max_concurrent_streams", _MAX_STREAMS_PER_CONNECTION),
        # Beyond these gRPC ends calls at random, as CANCELLED, which no client repeats.
        ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_PENDING_CALLS),
        # gRPC applies the limits of streams and metadata once the client has acknowledged them.
        ("grpc.http2.settings_timeout", _SETTINGS_TIMEOUT_MS),
        # Above max_request_bytes, which is answered with a reason; gRPC's own bare refusal is the backstop.
        ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # Clients may ping every 10 s, also without calls; we ping to find peers that vanished.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", keepalive_timeout_ms),
        # The time-out that applies: without it gRPC waits a minute for a ping's answer.
        ("grpc.http2.ping_timeout_ms", keepalive_timeout_ms),
        # No limit: the default allows two pings without data between them.
        ("grpc.http2.max_pings_without_data", 0),
    ]
