"""Channels to our servers: identity, request id and trace context on every call, keepalive the servers permit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from plangate_core.rpc.address import is_local
from plangate_core.rpc.correlation import REQUEST_ID_KEY, current_request_id, trace_metadata
from plangate_core.rpc.metadata import ACTOR_KEY, AUTHORIZATION_KEY, ROLES_KEY
from plangate_core.rpc.settings import ChannelSettings

# A batch of 100 proposals with 64 KiB of arguments and of result each is 13 MB: above gRPC's default of 4 MB.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC waits a minute for a ping's answer unless this says otherwise, too.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A server that restarts is back within a second or two; gRPC's default backoff grows to two minutes. While it lasts
    # calls fail at once, also when the server is back: it must be shorter than callers' call_policy.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # One name may stand for several replicas.
    ("grpc.lb_policy_name", "round_robin"),
)


class ChannelRefused(ValueError):
    """The settings ask for something unsafe or impossible; the message says what, on one line."""


def open_channel(
    target: str,
    settings: ChannelSettings | None = None,
    *,
    actor: str | None = None,
    token: str | None = None,
    roles: Iterable[str] = (),
    options: Iterable[tuple[str, int | str]] = (),
) -> grpc.aio.Channel:
    """Open a channel to "host:port" (or any gRPC target). Connects when first used. Needs a running event loop.

    `actor` and `token` come before those of the settings; `roles` are claimed on servers without authentication.
    Metadata given with a call is added to the channel's and replaces the channel's identity. Raises ChannelRefused.
    """
    settings = settings or ChannelSettings()
    if not target.strip():
        raise ChannelRefused("an empty address: name the server as host:port")
    token = token or _token(settings)
    secure = settings.tls or settings.tls_ca_file is not None
    if token and not secure and not is_local(target):
        raise ChannelRefused(f"a token is not sent without TLS to {target}: set PLANGATE_TLS_CA_FILE")
    identity = _identity_metadata(token or "", actor or settings.actor or "", tuple(roles))
    all_options = [*_OPTIONS, *options]
    if is_local(target) or not secure:
        # A proxy of the environment would see all of it, the token too, and the server is on this side of it.
        all_options.append(("grpc.enable_http_proxy", 0))
    if secure:
        channel = grpc.aio.secure_channel(target, _credentials(settings), options=all_options)
    else:
        channel = grpc.aio.insecure_channel(target, options=all_options)
    return _IdentifiedChannel(channel, identity)


def _identity_metadata(token: str, actor: str, roles: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What says who calls. Raises ChannelRefused for what metadata cannot hold."""
    for what, text in (("token", token), ("identity (PLANGATE_ACTOR)", actor), ("roles", "".join(roles))):
        # gRPC would refuse each call, in words of its own.
        if not (text.isascii() and text.isprintable()):
            raise ChannelRefused(f"cannot send a name or token that is not printable ASCII: the {what}")
    pairs = ((AUTHORIZATION_KEY, token and f"Bearer {token}"), (ACTOR_KEY, actor), (ROLES_KEY, ",".join(roles)))
    return tuple((key, value) for key, value in pairs if value)


def _token(settings: ChannelSettings) -> str | None:
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.token_file is None:
        return None
    try:
        token = settings.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ChannelRefused(f"the token file cannot be read: {error.strerror}: {error.filename}") from error
    except UnicodeDecodeError as error:
        raise ChannelRefused(f"the token file is not a text: {settings.token_file}") from error
    if not token:
        raise ChannelRefused(f"the token file is empty: {settings.token_file}")
    return token


def _credentials(settings: ChannelSettings) -> grpc.ChannelCredentials:
    try:
        return grpc.ssl_channel_credentials(
            root_certificates=_certificates(settings.tls_ca_file),
            private_key=_private_key(settings.tls_client_key_file),
            certificate_chain=_certificates(settings.tls_client_cert_file),
        )
    except OSError as error:
        raise ChannelRefused(f"a TLS file cannot be read: {error.strerror}: {error.filename}") from error


def _certificates(path: Path | None) -> bytes | None:
    # gRPC would take anything, and say when it connects that the server cannot be reached.
    if path is None:
        return None
    from cryptography import x509

    content = path.read_bytes()
    try:
        x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise ChannelRefused(f"no certificates in PEM form: {path}") from error
    return content


def _private_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = path.read_bytes()
    try:
        load_pem_private_key(content, password=None)
    except TypeError as error:
        raise ChannelRefused(f"a private key must not be encrypted: {path}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ChannelRefused(f"no private key in PEM form: {path}") from error
    return content


class _IdentifiedChannel(grpc.aio.Channel):
    """Adds metadata where a call begins. A client interceptor would do it too, at the price of a task per call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._metadata = metadata

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._identified(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._identified(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._identified(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._identified(self._channel.stream_stream(*arguments, **options))

    def _identified(self, callable_: Any) -> Any:
        identity = self._metadata

        def call(*arguments: Any, metadata: Iterable[tuple[str, str | bytes]] | None = None, **options: Any) -> Any:
            added = tuple(metadata) if metadata else ()
            given = {key for key, _ in added}
            if REQUEST_ID_KEY not in given:
                added += ((REQUEST_ID_KEY, current_request_id() or uuid.uuid4().hex),)
            # Servers refuse an identity that is sent twice.
            own = tuple([pair for pair in identity if pair[0] not in given]) if given else identity
            return callable_(*arguments, metadata=own + added + trace_metadata(), **options)

        return call

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self._channel.__aexit__(exc_type, exc_val, exc_tb)
