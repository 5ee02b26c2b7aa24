"""What the options before the subcommand say, and how a subcommand's work is run and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.text import Times

if TYPE_CHECKING:
    from plangate_client.client import PlannerClient, StoreClient
    from plangate_client.settings import ClientSettings

# Somebody waits at a terminal: who forgot to start the servers shall hear of it at once.
_ATTEMPTS = 5

T = TypeVar("T")


class Session:
    """Settings of one run of the command, and the clients made from them."""

    def __init__(self, settings: ClientSettings, *, utc: bool = False) -> None:
        self.settings = settings
        self.times = Times(utc)

    def store(self, *, actor: str | None = None) -> StoreClient:
        """A client of the store; close it."""
        from plangate_client.client import StoreClient

        channel = self.settings.channel(self.settings.store_target, actor=actor)
        return StoreClient(channel, call_policy=self.settings.call_policy(attempts=_ATTEMPTS))

    def planner(self) -> PlannerClient:
        """A client of the planner; close it."""
        from plangate_client.client import PlannerClient

        channel = self.settings.channel(self.settings.planner_target)
        return PlannerClient(channel, call_policy=self.settings.call_policy(attempts=_ATTEMPTS))


def session_of(context: typer.Context) -> Session:
    """The session that the options and the environment describe. Ends the command when they are wrong."""
    from plangate_client.settings import ClientSettings
    from plangate_core.process.settings import SettingsRefused, read_settings

    options = context.find_root().params
    given = {name: value for name, value in options.items() if name in ClientSettings.model_fields}
    given |= {"token": options["token"] or None, "planning_timeout_seconds": options["timeout_seconds"]}
    try:
        # What is not given comes from the environment.
        settings = read_settings(ClientSettings, **{k: v for k, v in given.items() if v not in (None, False)})
    except SettingsRefused as error:
        raise CommandFailed(str(error), ExitStatus.USAGE) from error
    return Session(settings, utc=options["utc"])


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


async def first(things: AsyncIterator[T], limit: int) -> list[T]:
    """The first so many."""
    found: list[T] = []
    async for thing in things:
        found.append(thing)
        if len(found) == limit:
            break
    return found


def all_of(*terms: str) -> str:
    """A filter: those of the terms that say something, joined. AND binds weakest: they need no parentheses.

    A caller's own comes first, so that positions in errors are its own.
    """
    return " AND ".join(term for term in terms if term.strip())


def environment_with(given: Mapping[str, object]) -> dict[str, str]:
    """This process's environment variables, but for those that are given: not None."""
    return {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}


def stop_on(numbers: Iterable[signal.Signals], stop: asyncio.Event, again: Callable[[], None]) -> None:
    """Have the first of these signals set `stop`, and each one after it call `again`."""

    def signalled() -> None:
        if stop.is_set():
            again()
        stop.set()

    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, signalled)
