"""Settings of the `plangate` command from environment variables. Its options come before them."""

from __future__ import annotations

import getpass
from pathlib import Path

import grpc
from pydantic import Field

from plangate_client.calls import CallPolicy
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings


class ClientSettings(ChannelSettings):
    """How to reach the servers and who asks. Every field is an environment variable with the prefix PLANGATE_."""

    store_target: str = "127.0.0.1:50051"
    planner_target: str = "127.0.0.1:50052"
    roles: str = ""
    """Comma-separated roles to claim on servers without authentication."""
    catalogue_file: Path | None = None
    """The executor's copy of the catalogue."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    """For one call, repetitions included."""
    planning_timeout_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """For a call that asks a model."""

    @property
    def role_names(self) -> tuple[str, ...]:
        """The roles, one by one."""
        return tuple(role.strip() for role in self.roles.split(",") if role.strip())

    @property
    def identity(self) -> str | None:
        """Who to say one is on servers without authentication: the setting, else the name of the login."""
        if self.actor:
            return self.actor
        try:
            return getpass.getuser()
        except (OSError, KeyError):
            # A container may run under a number without a name.
            return None

    def channel(self, target: str, *, actor: str | None = None) -> grpc.aio.Channel:
        """A channel to a server; close it. `actor`: who acts, if not the identity. Raises ChannelRefused."""
        return open_channel(target, self, actor=actor or self.identity, roles=self.role_names)

    def call_policy(self, *, attempts: int | None = None) -> CallPolicy:
        """How long calls may take; `attempts` as in CallPolicy."""
        return CallPolicy(
            timeout_seconds=self.timeout_seconds,
            planning_timeout_seconds=self.planning_timeout_seconds,
            attempts=attempts,
        )
