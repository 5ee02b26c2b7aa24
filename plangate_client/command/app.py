"""The `plangate` command: its subcommands, the options before them, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from plangate_client.command import agents, catalogue, check, logbook, plans, work
from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.review import decisions, inbox, lists
from plangate_client.command.servers import credentials, project, protos, up
from plangate_client.command.servers import delegated as servers
from plangate_core.process import standard_output
from plangate_core.text.printable import visible

_VALUED = frozenset({"--store", "--planner", "--as", "--roles", "--token", "--token-file", "--tls-ca", "--timeout"})
_FLAGS = frozenset({"--tls", "--utc"})
_PASS_THROUGH = frozenset({"store", "model", "policy", "replay"})


class _Sections(TyperGroup):
    """Lists the subcommands by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, functions in _SECTIONS.items():
            with formatter.section(title):
                rows = []
                for name in (function if isinstance(function, str) else _name(function) for function in functions):
                    command = self.get_command(ctx, name)
                    assert command is not None
                    rows.append((name, (command.help or "").split(".\n")[0].splitlines()[0].rstrip(".")))
                formatter.write_dl(rows)


app = typer.Typer(
    name="plangate",
    cls=_Sections,
    # Boxes take the room of a narrow terminal.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns a request in plain words into a plan, and lets no risky step run until the right people agreed to it.",
    epilog="Exit status: 0 done, 2 wrong usage, 3 not found, 4 it changed since you saw it, 5 denied or not in this "
    "state, 6 unavailable, 7 took too long, 8 not confirmed, 130 Ctrl-C, 1 anything else. "
    "The options above may also follow the subcommand.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        print(f"plangate {importlib.metadata.version('plangate')}")
        raise typer.Exit


@app.callback()
def options(
    store_target: Annotated[
        str | None, typer.Option("--store", metavar="HOST:PORT", help="Where the store is. PLANGATE_STORE_TARGET")
    ] = None,
    planner_target: Annotated[
        str | None, typer.Option("--planner", metavar="HOST:PORT", help="Where the planner is. PLANGATE_PLANNER_TARGET")
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who acts, on servers without authentication. PLANGATE_ACTOR"),
    ] = None,
    roles: Annotated[
        str | None, typer.Option("--roles", metavar="A,B", help="Roles to claim on such servers. PLANGATE_ROLES")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", metavar="TOKEN", help="Bearer token. The process list shows it: prefer PLANGATE_TOKEN."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Holds the token. PLANGATE_TOKEN_FILE")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS with the system's authorities. PLANGATE_TLS")] = False,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option("--tls-ca", metavar="FILE", help="Use TLS with these authorities. PLANGATE_TLS_CA_FILE"),
    ] = None,
    timeout_seconds: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.001, help="How long a call may take. PLANGATE_TIMEOUT_SECONDS"
        ),
    ] = None,
    utc: Annotated[bool, typer.Option("--utc", help="Print times exactly, in UTC.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say the version and end.")
    ] = False,
) -> None:
    """Read by session_of, under the names of ClientSettings' fields."""


def _name(function: Callable[..., None]) -> str:
    return function.__name__.replace("_", "-")


_SECTIONS: dict[str, tuple[Callable[..., None] | str, ...]] = {
    "Ask": (plans.plan, plans.submit, plans.actions),
    "Review": (
        "inbox",
        lists.show,
        decisions.approve,
        decisions.withdraw,
        decisions.reject,
        decisions.revise,
        decisions.cancel,
        decisions.resolve,
        decisions.break_glass,
    ),
    "Look": (lists.plans, lists.proposals, logbook.log, lists.whoami),
    "Run": (work.work, "catalogue", "mcp"),
    "Policy and models": (check.check, servers.policy, plans.simulate, servers.replay, servers.model),
    "Servers": (project.init, up.up, servers.store, "credentials", protos.protos),
}
app.add_typer(agents.group)
app.add_typer(credentials.group)
app.add_typer(inbox.group)
app.add_typer(catalogue.group)
for _functions in _SECTIONS.values():
    for _function in _functions:
        if not isinstance(_function, str):
            _settings = servers.PASS_THROUGH if _function.__name__ in _PASS_THROUGH else None
            app.command(_name(_function), context_settings=_settings)(_function)


def run() -> None:
    """Run the command with this process's arguments and end the process."""
    standard_output.prepare()
    try:
        try:
            app(hoisted(sys.argv[1:]), prog_name="plangate")
        finally:
            standard_output.flush()
    except CommandFailed as error:
        # Much of it was written by others: a server, and through it a model or a requester.
        print(f"plangate: {visible(error.message)}", file=sys.stderr)
        sys.exit(error.status)
    except UnicodeError:
        print("plangate: an argument, or what came on standard input, is not UTF-8", file=sys.stderr)
        sys.exit(ExitStatus.USAGE)
    except BrokenPipeError:
        # The reader of a pipe has seen enough.
        standard_output.give_up()
        sys.exit(ExitStatus.OTHER)
    except OSError as error:
        standard_output.give_up()
        what = f"{error.strerror}: {error.filename}" if error.filename else f"cannot write the answer: {error.strerror}"
        print(f"plangate: {visible(what)}", file=sys.stderr)
        sys.exit(ExitStatus.OTHER)


def hoisted(arguments: list[str]) -> list[str]:
    """The arguments with options that every subcommand understands put before it, wherever they stood."""
    before: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--" or (argument in _PASS_THROUGH and not rest):
            rest.append(argument)
            break
        if argument in _VALUED:
            before.append(argument)
            before.extend(value for value in [next(remaining, None)] if value is not None)
        elif argument in _FLAGS or argument.partition("=")[0] in _VALUED:
            before.append(argument)
        else:
            rest.append(argument)
    return [*before, *rest, *remaining]
