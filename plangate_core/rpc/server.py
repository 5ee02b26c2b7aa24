"""The life of a gRPC server: bound, serving, draining, gone. Health, both reflections and limits included."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from plangate_core.rpc.accepting import open_server
from plangate_core.rpc.address import AddressInvalid, is_local, split_host_port, with_port
from plangate_core.rpc.auth import Authenticator
from plangate_core.rpc.calls import CallsInFlight
from plangate_core.rpc.interceptors import CallInterceptor, MapError
from plangate_core.rpc.settings import ServerSettings
from plangate_core.rpc.telemetry import MetricsEndpoint, RpcMetrics

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_MAX_PENDING_CALLS = 50_000

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
        once, while other calls get drain_seconds. `metrics` default to new ones when settings ask for an endpoint.
        Raises ServerRefused, TokensFileInvalid.
        """
        self._settings = settings
        self._listen = listen
        self._service_names = tuple(service_names)
        if not listen.startswith(("unix:", "unix-abstract:")):
            try:
                split_host_port(listen)
            except AddressInvalid as wrong:
                # gRPC takes much for an address: of port 99999 it makes another one.
                raise ServerRefused(str(wrong)) from None
        authenticator = Authenticator.from_settings(settings)
        if not is_local(listen) and not (settings.tls_cert_file and authenticator.authenticates):
            raise ServerRefused(
                f"{listen} can be reached from other machines: set PLANGATE_TLS_CERT_FILE, PLANGATE_TLS_KEY_FILE "
                "and PLANGATE_AUTH_TOKENS_FILE, or listen on 127.0.0.1"
            )
        self._metrics = metrics or (RpcMetrics() if settings.metrics_listen else None)
        self._metrics_endpoint: MetricsEndpoint | None = None
        self._calls = CallsInFlight(
            max_unary=settings.max_concurrent_calls, max_streams=settings.max_concurrent_streams, metrics=self._metrics
        )
        self._drain_callbacks: list[Callable[[], None]] = []
        self._stop_requested = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server = open_server(
            CallInterceptor(
                authenticator=authenticator,
                map_error=map_error,
                calls=self._calls,
                metrics=self._metrics,
                endless_methods=frozenset(endless_methods),
                min_remaining_seconds=settings.min_remaining_seconds,
                max_request_bytes=settings.max_request_bytes,
            ),
            options=[
                # A second server on the same port must fail instead of silently sharing it.
                ("grpc.so_reuseport", 0),
                # Above our own limit, which answers with a reason; gRPC's own bare refusal is the backstop.
                ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                # Of more than 1,000 calls that wait to be looked at, gRPC ends some by chance, as CANCELLED, which no
                # client repeats. They are looked at, and what is too much is refused with OVERLOADED.
                ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_PENDING_CALLS),
                # Clients may ping every 10 s, also without calls; we ping to find peers that vanished.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
                ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
                # What counts in fact: gRPC waits for a ping's answer for a minute, whatever the keepalive's time-out.
                ("grpc.http2.ping_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
                # As often as it takes: two pings without data between them are the default.
                ("grpc.http2.max_pings_without_data", 0),
            ],
        )
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*self._service_names, _HEALTH]
        if settings.channelz:
            channelz.add_channelz_servicer(self._server)
            names.append(channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
        _add_reflection(self._server, names)

    @property
    def metrics(self) -> RpcMetrics | None:
        """Counters of calls; services may add theirs to its registry. None unless asked for."""
        return self._metrics

    async def start(self) -> int:
        """Bind and take calls; health says NOT_SERVING until set_serving(True). Returns the port (0 for Unix sockets).

        Raises ServerRefused when the address or a TLS file cannot be used.
        """
        await self.set_serving(False)
        try:
            if self._settings.tls_cert_file:
                port = self._server.add_secure_port(self._listen, _server_credentials(self._settings))
            else:
                port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise ServerRefused(
                f"cannot listen on {self._listen}: in use, or not an address of this machine"
            ) from error
        if self._settings.metrics_listen and self._metrics:
            try:
                self._metrics_endpoint = MetricsEndpoint(self._settings.metrics_listen, self._metrics.registry)
            except (OSError, ValueError) as error:
                raise ServerRefused(f"cannot serve metrics on {self._settings.metrics_listen}: {error}") from error
        await self._server.start()
        self.address = with_port(self._listen, port)
        return port

    async def set_serving(self, serving: bool) -> None:
        """Set the health of every service and of the server as a whole."""
        for name in ("", *self._service_names):
            await self._health.set(name, _SERVING if serving else _NOT_SERVING)

    async def set_health(self, name: str, serving: bool) -> None:
        """Set the health of a name of your own: a part of the server that can fail while the rest works."""
        await self._health.set(name, _SERVING if serving else _NOT_SERVING)

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Have this called when draining begins: wake up whoever waits for something that will not come any more."""
        self._drain_callbacks.append(callback)

    def request_stop(self) -> None:
        """Make run_until_signal() return as a SIGTERM would."""
        self._stop_requested.set()

    def hurry(self) -> None:
        """End the calls that stop() is waiting for."""
        self._calls.cancel_all()

    async def wait_for_stop_request(self) -> None:
        """Return when somebody called request_stop()."""
        await self._stop_requested.wait()

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Health NOT_SERVING, new calls refused (UNAVAILABLE, DRAINING), endless streams ended, the others finished
        within grace_seconds (default: drain_seconds), then ended too, then the port closed."""
        grace_seconds = self._settings.drain_seconds if grace_seconds is None else grace_seconds
        await self._health.enter_graceful_shutdown()
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
        if self._metrics_endpoint:
            await asyncio.to_thread(self._metrics_endpoint.close)
            self._metrics_endpoint = None


async def run_until_signal(server: GrpcServer, stop: Callable[[], Awaitable[None]] | None = None) -> None:
    """Wait for SIGTERM, SIGINT or request_stop(), then drain and stop the server. A second signal ends the drain.

    `stop` is what to do instead of server.stop(), for services with more to stop than their server.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    stopping = False

    def receive() -> None:
        nonlocal stopping
        if stopping:
            server.hurry()
        stopping = True
        server.request_stop()

    for number in signals:
        loop.add_signal_handler(number, receive)
    try:
        await server.wait_for_stop_request()
        _log.info("draining")
        await (stop or server.stop)()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _server_credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    assert settings.tls_cert_file is not None
    assert settings.tls_key_file is not None
    try:
        pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
        authorities = settings.tls_client_ca_file.read_bytes() if settings.tls_client_ca_file else None
        # gRPC says of files that it cannot use only that it could not listen.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca_file)
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=_no_password)
    except ssl.SSLError as error:
        raise ServerRefused(
            "the TLS files cannot be used: they must be PEM, the key without a password and the certificate's own: "
            + ", ".join(str(file) for file in _tls_files(settings))
        ) from error
    except OSError as error:
        raise ServerRefused(f"a TLS file cannot be read: {error.strerror}: {error.filename}") from error
    return grpc.ssl_server_credentials(
        [pair], root_certificates=authorities, require_client_auth=authorities is not None
    )


def _no_password() -> str:
    # Without this OpenSSL would ask for it at the terminal, and wait.
    return ""


def _tls_files(settings: ServerSettings) -> list[Path]:
    files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return [file for file in files if file is not None]


def _add_reflection(server: Any, service_names: list[str]) -> None:
    """Serve v1alpha, which grpcio has, and v1, which it lacks: both are the same bytes on the wire."""
    _describe_reflection_v1()
    names = (*service_names, reflection.SERVICE_NAME, _REFLECTION_V1)
    servicer = reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_REFLECTION_V1, {"ServerReflectionInfo": method}),)
    )


def _describe_reflection_v1() -> None:
    """Put v1's file descriptor, v1alpha's under another package, where reflection looks for it."""
    pool = descriptor_pool.Default()
    name = "grpc/reflection/v1/reflection.proto"
    try:
        pool.FindFileByName(name)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
        file.name, file.package = name, "grpc.reflection.v1"
        for message in file.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
        for method in file.service[0].method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
        pool.Add(file)
