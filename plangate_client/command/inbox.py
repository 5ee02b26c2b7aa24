"""`plangate inbox …`: the review page."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from plangate_client.command.session import session_of

group = typer.Typer(name="inbox", no_args_is_help=True, help="What waits for people: the review page.")


@group.command()
def serve(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where the page listens. PLANGATE_INBOX_LISTEN"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="The address that people use, for links and proxies. PLANGATE_INBOX_URL"),
    ] = None,
) -> None:
    """Serve the review page until Ctrl-C or SIGTERM, in front of servers that run already."""
    settings = session_of(context).settings
    given = {
        "PLANGATE_STORE_TARGET": settings.store_target,
        "PLANGATE_PLANNER_TARGET": settings.planner_target,
        "PLANGATE_TLS": "true" if settings.tls else None,
        "PLANGATE_TLS_CA_FILE": str(settings.tls_ca_file) if settings.tls_ca_file else None,
        "PLANGATE_INBOX_LISTEN": listen,
        "PLANGATE_INBOX_URL": url,
    }
    from plangate_client.settings import process_environment

    environment = {**process_environment(), **{name: value for name, value in given.items() if value is not None}}
    # In place of this process, from the installation: as for the servers' own programs.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "plangate_inbox"], environment)  # noqa: S606
