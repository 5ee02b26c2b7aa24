"""Both servers at once, as the environment and the caller say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plangate_client.calls import CallPolicy
from plangate_client.client import Closable, PlannerClient, StoreClient
from plangate_client.settings import ClientSettings
from plangate_core.process.settings import read_settings
from plangate_core.rpc.channel import open_channel

__all__ = ["Connection", "connect", "open_channel"]


class Connection(Closable):
    """The planner and the store for one identity; closes both channels at the end of the block."""

    def __init__(self, planner: PlannerClient, store: StoreClient) -> None:
        self.planner = planner
        self.store = store

    async def close(self) -> None:
        """Close both channels; calls under way are cancelled."""
        await self.planner.close()
        await self.store.close()


def connect(
    *,
    planner: str | None = None,
    store: str | None = None,
    actor: str | None = None,
    roles: Iterable[str] = (),
    token: str | None = None,
    token_file: Path | str | None = None,
    tls: bool | None = None,
    tls_ca_file: Path | str | None = None,
    call_policy: CallPolicy | None = None,
) -> Connection:
    """Clients of both servers. Connects when first used; needs a running event loop.

    What is None comes from the environment (PLANGATE_PLANNER_TARGET, PLANGATE_STORE_TARGET, PLANGATE_TOKEN_FILE,
    PLANGATE_TLS_CA_FILE and so on), else from the defaults: 127.0.0.1, ports 50052 and 50051.

    :param actor: who acts, on servers without authentication; by default the name of the login.
    :param roles: roles to claim on such servers.
    :raises SettingsRefused: a variable cannot be used.
    :raises ChannelRefused: the arguments are unsafe or impossible.
    """
    given: dict[str, Any] = {
        "planner_target": planner,
        "store_target": store,
        "actor": actor,
        "roles": ",".join(roles) or None,
        "token": token,
        "token_file": token_file,
        "tls": tls,
        "tls_ca_file": tls_ca_file,
    }
    settings = read_settings(ClientSettings, **{name: value for name, value in given.items() if value is not None})
    policy = call_policy or settings.call_policy()
    return Connection(
        PlannerClient(settings.channel(settings.planner_target), call_policy=policy),
        StoreClient(settings.channel(settings.store_target), call_policy=policy),
    )
