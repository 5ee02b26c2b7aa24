"""`python -m store_service` serves; its subcommands look after the database.

Exit status: 0 done; 1 refused or found a problem, written to standard error in one line; 2 wrong arguments or settings;
130 Ctrl-C; 141 the reader of the output is gone. The last two are the shell's for SIGINT and SIGPIPE.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from plangate_core.process.environment import VariableMisspelt, check_variables
from plangate_core.process.exit_status import NOT_CONFIRMED
from plangate_core.process.open_files import allow_many_open_files
from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_core.process.standard_output import READER_GONE_STATUS, OutputRefused, ReaderGone, written
from plangate_core.rpc.identity.tokens_file import TokensFileInvalid
from plangate_core.rpc.server import ServerRefused
from plangate_core.rpc.telemetry import TelemetryRefused, configure_logging, configure_tracing, sending_metrics
from store_service import administration
from store_service.bootstrap import build_server
from store_service.database.maintenance.copying import CopyRefused
from store_service.database.sqlite.backup import BackupRefused, back_up
from store_service.domain.errors import DatabaseUnavailable, StartRefused
from store_service.domain.events import EventUnreadable
from store_service.settings import StoreSettings

_REFUSALS = (
    StartRefused,
    ServerRefused,
    TokensFileInvalid,
    TelemetryRefused,
    BackupRefused,
    CopyRefused,
    EventUnreadable,
    OutputRefused,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    chosen = _arguments().parse_args(arguments)
    try:
        settings = read_settings(StoreSettings)
    except SettingsRefused as refused:
        return _refuse(str(refused), status=2)
    configure_logging(settings)
    try:
        check_variables(StoreSettings)
        return _COMMANDS[chosen.command or "serve"](settings, chosen)
    except _REFUSALS as refused:
        return _refuse(str(refused))
    except DatabaseUnavailable as away:
        # A driver's message goes on with the whole statement.
        return _refuse(f"{away}: {away.problem.partition(chr(10))[0]}")
    except VariableMisspelt as error:
        return _refuse(str(error), status=2)
    except KeyboardInterrupt:
        return 130
    except ReaderGone:
        return READER_GONE_STATUS


def _serve(settings: StoreSettings, _chosen: argparse.Namespace) -> int:
    configure_tracing(settings.otlp_endpoint, "plangate-store")
    allow_many_open_files()

    # The event loop and the thread that runs SQL hand the interpreter to each other several times a commit. At the
    # default of 5 ms each time may cost that long: p99 of 64 clients fell from about 75 to 55 ms here.
    sys.setswitchinterval(0.0005)

    async def serve() -> int:
        server = build_server(settings)
        await server.start()
        # Everything made so far stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Calls leave no circles behind, so the collector finds next to nothing; what it walks are new rows to remember,
        # while everybody waits. 20,000 of their objects took up to 60 ms; all that are remembered, walked as often as
        # the default thresholds have it, made p99 of approves by 64 clients 88 ms.
        gc.set_threshold(5_000, 80, 50)
        try:
            with written("the address"):
                print(f"plangate-store listening on {server.address}")
            with sending_metrics(settings, "plangate-store", server.grpc.metrics):
                await server.grpc.run_until_signal(server.stop)
        finally:
            await server.stop()
        return 1 if server.failure else 0

    return _run(serve)


def _migrate(settings: StoreSettings, _chosen: argparse.Namespace) -> int:
    revision = asyncio.run(administration.migrate(settings.database_url))
    with written("the answer"):
        print(f"the schema is {revision}")
    return 0


def _back_up(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    size = back_up(settings.database_url, chosen.destination)
    with written("the answer"):
        print(f"{chosen.destination}: {size} bytes")
    return 0


def _print_progress(table: str, rows: int) -> None:
    # Pages of 200.
    if rows % 10_000 == 0:
        print(f"{rows:,} rows of {table}", file=sys.stderr)


def _copy(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    health = asyncio.run(
        administration.copy(
            settings.database_url, chosen.to, settings.planner_identity, settings.log_key_file, _print_progress
        )
    )
    with written("the answer"):
        print(
            f"copied {health.events_checked} events up to revision {health.head_revision} and "
            f"{health.resources_checked} plans and proposals; the copy is sound, its log has the same head hash"
        )
    return 0


def _check(settings: StoreSettings, _chosen: argparse.Namespace) -> int:
    health = asyncio.run(administration.check(settings.database_url, settings.planner_identity, settings.log_key_file))
    with written("the answer"):
        print(
            f"schema {health.schema}, {health.events_checked} events up to revision {health.head_revision}, "
            f"{health.resources_checked} plans and proposals"
        )
        for problem in health.problems:
            print(problem, file=sys.stderr)
        if health.problems:
            print("NOT SOUND")
        else:
            print("sound" if health.seal_checked else "sound; seals were not checked, as the log's key is not here")
    return 1 if health.problems else 0


def _seal(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    if not chosen.yes:
        why = "sealing takes what the log says now as true, whoever wrote it: --yes says that you want this"
        return _refuse(why, status=NOT_CONFIRMED)
    health, key_id = asyncio.run(
        administration.seal(settings.database_url, settings.planner_identity, settings.log_key_file)
    )
    if health.problems:
        return _refuse(f"nothing was sealed, as the database is not sound: {health.problems[0]}")
    with written("the answer"):
        print(f"sealed {health.events_checked} events up to revision {health.head_revision} with the key {key_id}")
    return 0


def _export(settings: StoreSettings, _chosen: argparse.Namespace) -> int:
    if sys.stdout is None:
        raise OutputRefused("the log cannot be written: there is no standard output")
    with (
        written("the log"),
        # Whatever this terminal's encoding: the log's texts are hashed as UTF-8.
        open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False) as output,
    ):
        asyncio.run(administration.export(settings.database_url, output))
    return 0


_COMMANDS: dict[str, Callable[[StoreSettings, argparse.Namespace], int]] = {
    "serve": _serve,
    "migrate": _migrate,
    "backup": _back_up,
    "copy": _copy,
    "check": _check,
    "seal": _seal,
    "export": _export,
}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plangate store", description="The Plangate store. Settings are PLANGATE_* variables."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM (the default)")
    commands.add_parser("migrate", help="bring the database's schema up to date and exit")
    backup = commands.add_parser("backup", help="copy a SQLite database, while it may be in use")
    backup.add_argument("destination", type=Path, metavar="DEST", help="a file that does not exist yet")
    copy = commands.add_parser("copy", help="copy a stopped store's database to an empty one, SQLite or PostgreSQL")
    copy.add_argument("--to", required=True, metavar="URL", help="sqlite:///path or postgresql://user@host/name")
    commands.add_parser("check", help="check the file, the schema, the chain of hashes and the rows")
    seal = commands.add_parser("seal", help="seal a stopped store's log anew, after its key was lost or exchanged")
    seal.add_argument("--yes", action="store_true", help="take what the log says now as true")
    commands.add_parser("export", help="write the log to standard output as JSON lines (see docs/verify_log.py)")
    return parser


def _run(serve: Callable[[], Coroutine[Any, Any, int]]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


def _refuse(sentence: str, *, status: int = 1) -> int:
    print(f"plangate-store: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
