"""What every Plangate process can be told by its environment. Values are read once, at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from plangate_core.process.settings import Fixed, PlangateSettings

RESERVED_PREFIX = "system:"
"""What the servers' own identities begin with, and no other."""


def _sendable(identity: str) -> str:
    if not (identity.isascii() and identity.isprintable() and identity == identity.strip()):
        raise ValueError("must be printable ASCII without spaces around it")
    if identity.startswith(RESERVED_PREFIX):
        raise ValueError(f"must not begin with {RESERVED_PREFIX!r}: those are the servers' own")
    return identity


class LoggingSettings(PlangateSettings):
    """What goes to standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """At "debug" every call leaves a line, otherwise calls that failed do, but for NOT_FOUND and ABORTED."""
    log_format: Literal["json", "console"] = "json"


class ServedSettings(LoggingSettings):
    """What everything that listens shares. Files are paths to PEM."""

    tls_cert_file: Path | None = None
    """The server's certificate chain. TLS is on when this and tls_key_file are given."""
    tls_key_file: Path | None = None
    metrics_listen: str | None = None
    """host:port of a Prometheus endpoint. Absent: none."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("PLANGATE_TLS_CERT_FILE and PLANGATE_TLS_KEY_FILE go together")
        return self


class ServerSettings(ServedSettings):
    """What both servers share."""

    tls_client_ca_file: Path | None = None
    """Clients must show a certificate that one of these authorities signed (mutual TLS)."""
    auth_tokens_file: Path | None = None
    """Tokens, client certificates and issuers of JSON Web Tokens: see docs/how-to/identity.md. Without it callers name
    themselves, on loopback only."""
    planner_identity: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_sendable)] = "planner"
    """The identity that models act under. It has the role planner and can never approve."""
    drain_seconds: float = Field(default=20.0, ge=0, le=3600)
    """After SIGTERM: how long calls in flight may take to finish."""
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+:[0-9]+/?$")
    """http(s)://host:port of an OpenTelemetry collector that takes OTLP over gRPC: traces and metrics. Absent: neither
    is sent. Needs the extra otlp."""
    otlp_metrics_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How often metrics are sent there. 0: never, for collectors that take traces only."""
    max_concurrent_calls: int = Field(default=1024, ge=1)
    """Unary calls in flight at once; more are refused with OVERLOADED."""
    max_concurrent_streams: int = Field(default=1024, ge=1)
    """Server-streaming calls in flight at once; more are refused with OVERLOADED."""
    keepalive_seconds: float = Field(default=60.0, ge=0.1, le=86_400)
    """A connection that was silent for so long is asked whether its client is still there."""
    keepalive_timeout_seconds: float = Field(default=20.0, ge=0.1, le=86_400)
    """How long it may take to answer before it is closed and its calls are ended."""
    min_remaining_seconds: Annotated[float, Fixed] = 0.005
    """Calls with less time left than this are refused with DEADLINE_TOO_SHORT instead of being begun."""
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024)
    """Larger requests are refused with INVALID_ARGUMENT; from twice that size gRPC does so, with RESOURCE_EXHAUSTED."""
    channelz: bool = False
    """Also serve grpc.channelz.v1, which shows what the process's connections do."""

    @property
    def has_metrics(self) -> bool:
        """Whether somebody reads them."""
        return self.metrics_listen is not None or self.sends_metrics

    @property
    def sends_metrics(self) -> bool:
        """Whether they are sent to a collector."""
        return self.otlp_endpoint is not None and self.otlp_metrics_seconds > 0

    @model_validator(mode="after")
    def _clients_are_checked_over_tls(self) -> Self:
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("PLANGATE_TLS_CLIENT_CA_FILE needs PLANGATE_TLS_CERT_FILE and PLANGATE_TLS_KEY_FILE")
        return self


class ChannelSettings(PlangateSettings):
    """How a client of ours reaches a server."""

    tls: bool = False
    """Use TLS with the system's authorities. Implied by tls_ca_file."""
    tls_ca_file: Path | None = None
    """Authorities that may have signed the server's certificate."""
    tls_client_cert_file: Path | None = None
    """The client's own certificate, for servers that ask for one. Needs tls_client_key_file."""
    tls_client_key_file: Path | None = None
    token: SecretStr | None = None
    """Bearer token. Sent over TLS or to loopback only."""
    token_file: Path | None = None
    """A file that holds the bearer token, for where environments are seen by too many. Read when a channel opens."""
    actor: str | None = None
    """Identity to claim on servers without authentication."""
