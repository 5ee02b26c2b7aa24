"""Settings of the review page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, model_validator

from plangate_core.rpc.address import AddressInvalid, is_local, split_host_port
from plangate_core.rpc.settings import ChannelSettings, ServedSettings


class InboxSettings(ServedSettings, ChannelSettings):
    """Every field is an environment variable with the prefix PLANGATE_.

    token, token_file and actor are those that notifications follow the log with. Pages use what their readers sign in
    with.
    """

    inbox_listen: str = "127.0.0.1:50053"
    """host:port of the review page; port 0 takes a free one. Other than loopback it needs TLS or inbox_url."""
    inbox_url: str = ""
    """The address that people use, for links and behind a proxy that ends TLS: https://plangate.example.org."""
    inbox_session_seconds: float = Field(default=43_200.0, ge=60, le=2_592_000)
    """Who does nothing for so long is signed out."""
    inbox_oidc_issuer: str = ""
    """People sign in at this OpenID provider, as an issuer of the servers' tokens file. Needs inbox_oidc_client_id."""
    inbox_oidc_client_id: str = ""
    """What the provider knows the page as."""
    inbox_oidc_client_secret: SecretStr | None = None
    """The page's secret for the provider; none for a public client."""
    inbox_oidc_client_secret_file: Path | None = None
    """A file that holds that secret."""
    inbox_oidc_scopes: str = "openid profile email"
    """What is asked of the provider."""
    inbox_oidc_token: Literal["id_token", "access_token"] = "id_token"  # noqa: S105 - a name
    """Which of the provider's tokens the servers are called with."""
    store_target: str = "127.0.0.1:50051"
    """Where the store is, as gRPC names it."""
    planner_target: str = "127.0.0.1:50052"
    """Where the planner is, as gRPC names it."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    """For one call to a server, repetitions included."""
    notify_file: Path | None = None
    """Who is notified of what (docs/how-to/notifications.md). Absent: no notifications."""
    notify_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("plangate") / "notifications")
    """Where it is kept how far each receiver has come."""

    @model_validator(mode="after")
    def _is_not_open_to_listeners(self) -> Self:
        try:
            split_host_port(self.inbox_listen)
        except AddressInvalid as error:
            raise ValueError(f"PLANGATE_INBOX_LISTEN: {error}") from None
        if self.inbox_url:
            parts = urlsplit(self.inbox_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError("PLANGATE_INBOX_URL: must be http(s)://host[:port] without a path")
        if bool(self.inbox_oidc_issuer) != bool(self.inbox_oidc_client_id):
            raise ValueError("PLANGATE_INBOX_OIDC_ISSUER and PLANGATE_INBOX_OIDC_CLIENT_ID go together")
        if self.inbox_oidc_issuer and not may_be_called(self.inbox_oidc_issuer):
            raise ValueError("PLANGATE_INBOX_OIDC_ISSUER: must be https://... (http://... on this machine only)")
        if self.inbox_oidc_issuer and not (self.inbox_url or self.is_loopback):
            raise ValueError("PLANGATE_INBOX_OIDC_ISSUER needs PLANGATE_INBOX_URL: people are sent back there")
        if not (self.is_loopback or self.is_secure):
            raise ValueError(
                "PLANGATE_INBOX_LISTEN: only loopback without TLS: give PLANGATE_TLS_CERT_FILE and"
                " PLANGATE_TLS_KEY_FILE, or PLANGATE_INBOX_URL=https://... when a proxy ends TLS in front of it"
            )
        return self

    @property
    def reach(self) -> ChannelSettings:
        """How the servers are reached: without any identity of this process."""
        return self.model_copy(update={"token": None, "token_file": None, "actor": None})

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.inbox_listen)

    @property
    def is_secure(self) -> bool:
        """Whether people reach it over TLS."""
        return self.tls_cert_file is not None or self.inbox_url.startswith("https://")


def may_be_called(url: str) -> bool:
    """Whether secrets may be sent there: over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        address = parts.netloc if parts.port else f"{parts.netloc}:80"
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_local(address))
