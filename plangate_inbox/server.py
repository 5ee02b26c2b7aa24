"""The review page as a server: a socket, TLS, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from types import FrameType

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from plangate_client.client import StoreClient
from plangate_core.process.standard_output import written
from plangate_core.rpc.address import split_host_port
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.telemetry import serving_metrics
from plangate_core.rpc.tls import read_tls_files
from plangate_inbox.app import build_app
from plangate_inbox.settings import InboxSettings

_log = structlog.get_logger("inbox")
_SHUTDOWN_SECONDS = 5


class StartRefused(Exception):
    """The page cannot be served; the message says why, on one line."""


async def serve(settings: InboxSettings) -> None:
    """Serve until SIGTERM or SIGINT. Says on standard output where, once it listens.

    Raises StartRefused, TlsFilesInvalid, TelemetryRefused.
    """
    app = build_app(settings)
    listening = listen(settings.inbox_listen)
    host, port = listening.getsockname()[:2]
    if settings.tls_cert_file and settings.tls_key_file:
        read_tls_files(settings.tls_cert_file, settings.tls_key_file)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=settings.tls_key_file,
        ),
        app.state.stopping,
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with written("the address"):
        print(f"plangate-inbox listening on {address}", flush=True)
    _log.info("serving", address=address, tls=settings.tls_cert_file is not None)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal again once it has stopped: that is to be no other end than this one.
        signal.signal(number, server.handle_exit)
    scheme = "https" if settings.tls_cert_file else "http"
    registry = CollectorRegistry()
    with listening, serving_metrics(settings.metrics_listen, registry):
        async with _notifications(settings, settings.inbox_url or f"{scheme}://{address}", registry):
            await server.serve(sockets=[listening])


@contextlib.asynccontextmanager
async def _notifications(settings: InboxSettings, url: str, registry: CollectorRegistry) -> AsyncIterator[None]:
    """Deliver notifications until the end of the block, where there is a notify file."""
    if settings.notify_file is None:
        yield
        return
    # Its HTTP client takes a while to load.
    from plangate_inbox.notifications.metrics import NotificationMetrics
    from plangate_inbox.notifications.notify_file import load_notify_file
    from plangate_inbox.notifications.service import notifying

    form = load_notify_file(settings.notify_file)
    channel = open_channel(settings.store_target, settings, actor=settings.actor or "notifier")
    metrics = NotificationMetrics(registry)
    async with StoreClient(channel) as store, notifying(form, settings.notify_dir, store, url, metrics):
        yield


class _Server(uvicorn.Server):
    """Ends streams, which would never end by themselves, when a stop is requested."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        super().handle_exit(sig, frame)


def listen(address: str) -> socket.socket:
    """A socket that listens there. Raises StartRefused."""
    host, port = split_host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise StartRefused(f"cannot listen on {address}: {error.strerror or error}") from error
    # Inherited by connections. asyncio sets it for sockets made with a protocol number only, which this one is not, and
    # without it the last packet of a page may wait for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
