"""`plangate up`: the servers and the review page, from one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.console import stderr, stdout
from plangate_client.command.session import environment_with, run_async, stop_on
from plangate_core.text.printable import visible

_REMIND_SECONDS = 15.0
# What every line of a log has besides what it says.
_COMMON = frozenset({"event", "level", "timestamp", "request_id", "logger", "exception"})
_NAMES = {"store": "the store", "planner": "the planner", "inbox": "the review page"}


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
        str | None,
        typer.Option("--model", metavar="NAME", help="Such as openai/gpt-4o; default: embedded. PLANGATE_MODEL"),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what the servers log.")] = False,
) -> None:
    """Run both servers and the review page until Ctrl-C or SIGTERM. If one ends, the others are stopped."""
    environment = environment_with(
        {
            "PLANGATE_STORE_LISTEN": "127.0.0.1:0" if free_ports else store_listen,
            "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0" if free_ports else planner_listen,
            "PLANGATE_INBOX_LISTEN": "127.0.0.1:0" if free_ports else inbox_listen,
            "PLANGATE_DATABASE_URL": database,
            "PLANGATE_CATALOGUE_FILE": catalogue and catalogue.resolve(),
            "PLANGATE_POLICY_FILE": policy and policy.resolve(),
            "PLANGATE_MODEL": model,
        }
    )
    # The shell's identity is a person's, not the planner's.
    environment.pop("PLANGATE_ACTOR", None)
    if not verbose:
        # Warnings and errors are picked out of it for the terminal.
        environment["PLANGATE_LOG_FORMAT"] = "json"
    if not environment.get("PLANGATE_CATALOGUE_FILE"):
        raise CommandFailed(
            "which actions? Give --catalogue FILE, or set PLANGATE_CATALOGUE_FILE; `plangate init DIR` makes one",
            ExitStatus.USAGE,
        )
    _refuse_half_security(environment)
    run_async(context, _up(environment, verbose, inbox=not no_inbox))


def _refuse_half_security(environment: dict[str, str]) -> None:
    """The planner is a client of the store: what the store asks of clients, it must be given."""
    if environment.get("PLANGATE_TLS_CERT_FILE") and not (
        environment.get("PLANGATE_TLS_CA_FILE") or environment.get("PLANGATE_TLS")
    ):
        raise CommandFailed(
            "PLANGATE_TLS_CERT_FILE is set: the planner also needs PLANGATE_TLS_CA_FILE to call the store over TLS",
            ExitStatus.USAGE,
        )
    if environment.get("PLANGATE_AUTH_TOKENS_FILE") and not (
        environment.get("PLANGATE_TOKEN_FILE") or environment.get("PLANGATE_TOKEN")
    ):
        raise CommandFailed(
            "PLANGATE_AUTH_TOKENS_FILE is set: the planner also needs PLANGATE_TOKEN_FILE, with a token of its own",
            ExitStatus.USAGE,
        )


class _Startup:
    """Says what is being started, from the first second, and how long it has taken so far."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._console = stderr()
        self._model = environment.get("PLANGATE_MODEL") or "embedded"
        self._name = ""
        self._since = time.monotonic()

    def begin(self, name: str) -> None:
        self._name, self._since = name, time.monotonic()
        hint = ""
        if name == "planner" and self._model == "embedded":
            hint = ": the embedded model is loaded and reads its instructions, 10 s to 2 min"
        self._console.print(f"starting {_NAMES[name]}{hint}", style="dim", soft_wrap=True)

    async def remind(self) -> None:
        """Until cancelled."""
        with self._console.status("starting") as status:
            reminded = 0.0
            while True:
                await asyncio.sleep(1.0)
                seconds = time.monotonic() - self._since
                status.update(f"starting {_NAMES.get(self._name, '')}, {seconds:.0f} s")
                if not self._console.is_terminal and seconds - reminded > _REMIND_SECONDS:
                    self._console.print(f"still starting {_NAMES.get(self._name, '')}, {seconds:.0f} s")
                    reminded = seconds


async def _up(environment: dict[str, str], verbose: bool, *, inbox: bool) -> None:
    from rich.text import Text

    from plangate_client.servers.server_pair import ServerEnded, ServerPair, metrics_addresses
    from plangate_core.process.tasks import cancel_and_wait

    console = stderr()

    def print_line(name: str, text: str) -> None:
        # A log that cannot be written must not block the servers, whose pipes would fill.
        with contextlib.suppress(OSError):
            if text:
                stderr().print(Text.assemble((f"{name:>7} ", "dim"), visible(text)), soft_wrap=True)

    def on_line(name: str, line: str) -> None:
        print_line(name, line if verbose else important(line))

    startup = _Startup(environment)
    stop = asyncio.Event()
    drain_seconds = _drain_seconds(environment)
    async with ServerPair(
        environment, inbox=inbox, drain_seconds=drain_seconds, on_line=on_line, on_start=startup.begin
    ) as pair:
        # The first signal stops all in order, the second one kills them.
        stop_on((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), stop, pair.kill)
        starting = asyncio.create_task(pair.start())
        stopping = asyncio.create_task(stop.wait())
        reminding = asyncio.create_task(startup.remind())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(reminding)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
                return
            addresses = starting.result()
            out = stdout()
            out.print(f"store    {addresses.store}")
            out.print(f"planner  {addresses.planner}")
            if addresses.inbox:
                scheme = "https" if environment.get("PLANGATE_TLS_CERT_FILE") else "http"
                out.print(f"inbox    {scheme}://{addresses.inbox}/")
            for name, address in metrics_addresses(environment.get("PLANGATE_METRICS_LISTEN", "")).items():
                if not address.endswith(":0") and (name != "inbox" or addresses.inbox):
                    out.print(f"metrics  http://{address}/metrics of {_NAMES[name]}")
            ended = asyncio.create_task(pair.first_end())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not stop.is_set():
                raise ended.result()
            ended.cancel()
            console.print("stopping", style="dim")
        except ServerEnded as error:
            for line in () if verbose else error.log:
                print_line(error.name, line.removeprefix(f"plangate-{error.name}: "))
            raise CommandFailed(str(error)) from error
        finally:
            stopping.cancel()
            reminding.cancel()


def important(line: str) -> str:
    """A line of a server's log as a person at the terminal should see it: warnings, errors, and what was read anew.
    Empty for all else."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict):
        return ""
    is_reload = entry.get("event") == "catalogue and policy read" and entry.get("changed")
    if entry.get("level") not in ("warning", "error", "critical") and not is_reload:
        return ""
    plain = {name: value for name, value in entry.items() if isinstance(value, str | int | float)}
    facts = [f"{name}: {value}" for name, value in plain.items() if name not in _COMMON]
    level = "" if is_reload else f"{entry['level']}: "
    return f"{level}{entry.get('event', '')}{'; ' if facts else ''}{', '.join(facts)}"


def _drain_seconds(environment: dict[str, str]) -> float:
    """How long the servers may take to end, as they will read it themselves."""
    try:
        return float(environment["PLANGATE_DRAIN_SECONDS"])
    except (KeyError, ValueError):
        return 20.0
