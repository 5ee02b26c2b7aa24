"""`plangate up`, and what the servers' own programs do: `plangate store …`, `plangate model …`, `plangate replay …`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.session import run_async

if TYPE_CHECKING:
    from plangate_client.servers.server_pair import ServerEnded, ServerPair

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def up(
    context: typer.Context,
    store_listen: Annotated[
        str | None,
        typer.Option("--store-listen", metavar="HOST:PORT", help="Where the store listens. PLANGATE_STORE_LISTEN"),
    ] = None,
    planner_listen: Annotated[
        str | None,
        typer.Option(
            "--planner-listen", metavar="HOST:PORT", help="Where the planner listens. PLANGATE_PLANNER_LISTEN"
        ),
    ] = None,
    inbox_listen: Annotated[
        str | None,
        typer.Option(
            "--inbox-listen", metavar="HOST:PORT", help="Where the review page listens. PLANGATE_INBOX_LISTEN"
        ),
    ] = None,
    no_inbox: Annotated[bool, typer.Option("--no-inbox", help="Without the review page.")] = False,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Any free ports on loopback.")] = False,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help="The store's database. PLANGATE_DATABASE_URL")
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", metavar="FILE", help="The actions that may be planned. PLANGATE_CATALOGUE_FILE"),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Who must agree to what. PLANGATE_POLICY_FILE")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="For example openai/gpt-4o; default: embedded. PLANGATE_MODEL")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what the servers log.")] = False,
) -> None:
    """Run both servers and the review page until Ctrl-C or SIGTERM. If one ends, the others are stopped."""
    from plangate_client.settings import process_environment

    given = {
        "PLANGATE_STORE_LISTEN": "127.0.0.1:0" if free_ports else store_listen,
        "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0" if free_ports else planner_listen,
        "PLANGATE_INBOX_LISTEN": "127.0.0.1:0" if free_ports else inbox_listen,
        "PLANGATE_DATABASE_URL": database,
        "PLANGATE_CATALOGUE_FILE": str(catalogue.resolve()) if catalogue else None,
        "PLANGATE_POLICY_FILE": str(policy.resolve()) if policy else None,
        "PLANGATE_MODEL": model,
    }
    environment = {
        **process_environment(),
        **{name: value for name, value in given.items() if value is not None},
    }
    # The shell's identity is a person's, not the planner's.
    environment.pop("PLANGATE_ACTOR", None)
    run_async(context, _up(environment, verbose, inbox=not no_inbox))


def model(context: typer.Context) -> None:
    """The embedded model: `pull` brings it, `status` says whether it is there."""
    _run_module("planner_service", ["model", *context.args])


def replay(context: typer.Context) -> None:
    """Make the plans of a recorded run again, without a model, and compare them."""
    _run_module("planner_service", ["replay", *context.args])


def store(context: typer.Context) -> None:
    """The store's database: `migrate`, `backup`, `check`, `export`."""
    # Without a subcommand the store's own program would serve.
    _run_module("store_service", context.args or ["--help"])


def _run_module(module: str, arguments: list[str]) -> None:
    import os

    # In place of this process: signals, the terminal and the exit status are the program's own. -P: modules come from
    # the installation, never from the directory that somebody happens to stand in.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606


async def _up(environment: dict[str, str], verbose: bool, *, inbox: bool) -> None:
    from rich.text import Text

    from plangate_client.command.output.console import answers, remarks
    from plangate_client.servers.server_pair import ServerEnded, ServerPair
    from plangate_core.text.printable import visible

    console = remarks()

    def tell(name: str, line: str) -> None:
        if not verbose:
            return
        # A log that cannot be written must not hold the servers up, whose output nobody would read any more.
        with contextlib.suppress(OSError):
            remarks().print(Text.assemble((f"{name:>7} ", "dim"), visible(line)), soft_wrap=True)

    stop = asyncio.Event()
    drain_seconds = _drain_seconds(environment)
    async with ServerPair(environment, inbox=inbox, drain_seconds=drain_seconds, tell=tell) as pair:
        _on_signals(stop, pair)
        starting = asyncio.create_task(pair.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            with console.status("starting the servers"):
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
                return
            addresses = starting.result()
            out = answers()
            out.print(f"store    {addresses.store}")
            out.print(f"planner  {addresses.planner}")
            if addresses.inbox:
                scheme = "https" if environment.get("PLANGATE_TLS_CERT_FILE") else "http"
                out.print(f"inbox    {scheme}://{addresses.inbox}/")
            ended = asyncio.create_task(pair.first_end())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not stop.is_set():
                raise ended.result()
            ended.cancel()
            console.print("stopping", style="dim")
        except ServerEnded as error:
            raise _failure(error, verbose) from error
        finally:
            stopping.cancel()


def _drain_seconds(environment: dict[str, str]) -> float:
    """How long the servers may take to end, as they will read it themselves."""
    try:
        return float(environment["PLANGATE_DRAIN_SECONDS"])
    except (KeyError, ValueError):
        return 20.0


def _failure(error: ServerEnded, verbose: bool) -> CommandFailed:
    from rich.text import Text

    from plangate_client.command.output.console import remarks
    from plangate_core.text.printable import visible

    if not verbose:
        for line in error.log:
            remarks().print(Text.assemble((f"{error.name:>7} ", "dim"), visible(line)), soft_wrap=True)
    return CommandFailed(str(error), ExitStatus.OTHER)


def _on_signals(stop: asyncio.Event, pair: ServerPair) -> None:
    """The first signal stops both in order, the second one kills them."""

    def asked_to_stop() -> None:
        if stop.is_set():
            pair.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, asked_to_stop)
