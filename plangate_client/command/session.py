"""What the options before the subcommand say, and how a subcommand's work is run and ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus

if TYPE_CHECKING:
    from plangate_client.client import PlannerClient, StoreClient
    from plangate_client.command.output.times import Times
    from plangate_client.settings import ClientSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """Options that every subcommand understands. None: the environment decides."""

    store: str | None = None
    planner: str | None = None
    actor: str | None = None
    roles: str | None = None
    token: str | None = None
    token_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    timeout_seconds: float | None = None
    utc: bool = False


class Session:
    """Settings of one run of the command, and the clients made from them."""

    def __init__(self, settings: ClientSettings, *, utc: bool = False) -> None:
        self.settings = settings
        self._utc = utc

    def times(self) -> Times:
        """How times are written."""
        from plangate_client.command.output.times import Times

        return Times(self._utc)

    def store(self, *, actor: str | None = None) -> StoreClient:
        """A client of the store; close it."""
        from plangate_client.client import StoreClient

        return StoreClient(self._channel(self.settings.store_target, actor), call_policy=self._call_policy())

    def planner(self) -> PlannerClient:
        """A client of the planner; close it."""
        from plangate_client.client import PlannerClient

        return PlannerClient(self._channel(self.settings.planner_target, None), call_policy=self._call_policy())

    def _channel(self, target: str, actor: str | None) -> Any:
        from plangate_core.rpc.channel import open_channel

        settings = self.settings
        return open_channel(target, settings, actor=actor or settings.identity, roles=settings.role_names)

    def _call_policy(self) -> Any:
        from plangate_client.calls import CallPolicy

        return CallPolicy(
            timeout_seconds=self.settings.timeout_seconds,
            planning_timeout_seconds=self.settings.planning_timeout_seconds,
            # Somebody waits at a terminal: who forgot to start the servers shall hear of it at once.
            attempts=5,
        )


def session_of(context: typer.Context) -> Session:
    """The session that the options and the environment describe. Ends the command when they are wrong."""
    from pydantic import SecretStr

    from plangate_client.settings import ClientSettings
    from plangate_core.rpc.settings import SettingsRefused, read_settings

    options: GlobalOptions = context.obj
    given: dict[str, Any] = {
        "store_target": options.store,
        "planner_target": options.planner,
        "actor": options.actor,
        "roles": options.roles,
        "token": SecretStr(options.token) if options.token else None,
        "token_file": options.token_file,
        "tls": options.tls or None,
        "tls_ca_file": options.tls_ca_file,
        "timeout_seconds": options.timeout_seconds,
        "planning_timeout_seconds": options.timeout_seconds,
    }
    try:
        return Session(
            read_settings(ClientSettings, **{name: value for name, value in given.items() if value is not None}),
            utc=options.utc,
        )
    except SettingsRefused as error:
        raise CommandFailed(str(error), ExitStatus.USAGE) from error


def run_async(context: typer.Context, work: Coroutine[Any, Any, T]) -> T:
    """Run a subcommand's work. What fails ends the command with one line on standard error and its exit status."""
    from plangate_client.command.failures import is_out_of_reach, sentence, status_of
    from plangate_client.errors import PlangateError
    from plangate_core.rpc.channel import ChannelRefused
    from plangate_core.rpc.tls_diagnosis import diagnose

    try:
        return asyncio.run(work)
    except PlangateError as error:
        settings = session_of(context).settings
        targets = {"store": settings.store_target, "planner": settings.planner_target}
        cause = diagnose(targets.get(error.service, ""), settings) if is_out_of_reach(error) else ""
        raise CommandFailed(sentence(error, targets, cause=cause), status_of(error)) from error
    except ChannelRefused as error:
        raise CommandFailed(str(error), ExitStatus.USAGE) from error
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise typer.Exit(ExitStatus.INTERRUPTED) from None
