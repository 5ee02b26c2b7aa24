"""`plangate credentials init`: a private authority, a server certificate and first tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus

group = typer.Typer(
    name="credentials",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Certificates and tokens for servers on a network.",
)


@group.callback()
def _group() -> None:
    """Keeps `init` a subcommand of its own."""


@group.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to write them; made when missing.")],
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="A name or address of the servers; may be repeated. Default: localhost and 127.0.0.1.",
        ),
    ] = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing, and succeed, where there are some already.")
    ] = False,
) -> None:
    """Write ca.pem, server.pem, server-key.pem, tokens.yaml, and a token for each kind of identity."""
    from plangate_client.command.output.console import answers
    from plangate_client.servers.credentials import CredentialsExist, ForeignFiles, HostRefused, write_credentials

    try:
        written = write_credentials(directory, hosts or ["localhost", "127.0.0.1"])
    except CredentialsExist as error:
        if if_missing and not isinstance(error, ForeignFiles):
            return
        raise CommandFailed(str(error), ExitStatus.CONFLICT) from error
    except HostRefused as error:
        raise CommandFailed(f"--host: {error}", ExitStatus.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"{error.strerror}: {error.filename}") from error
    for path in written:
        answers().print(str(path), soft_wrap=True)
