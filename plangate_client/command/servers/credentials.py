"""`plangate credentials`: a private authority, a server certificate, and tokens for people and programs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.console import stderr, stdout
from plangate_core.text.printable import visible

group = typer.Typer(
    name="credentials",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Certificates and tokens for servers on a network.",
)


TokensOption = Annotated[
    Path | None,
    typer.Option("--tokens", metavar="FILE", help="The tokens file. PLANGATE_AUTH_TOKENS_FILE; else tokens.yaml here."),
]


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
        stdout().print(str(path), soft_wrap=True)


@group.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The identity, as the log will name it.")],
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="reviewer, executor, admin, planner, or one that your policy asks for; may be repeated.",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", metavar="N", min=0, help="The token ends after so many; default: never.")
    ] = None,
    tokens: TokensOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the token goes; default: NAME.token.")
    ] = None,
) -> None:
    """Make a token for a person or a program. Running servers take it within a second."""
    from plangate_client.servers.tokens_file import ROLES, add_token

    file = _tokens_file(tokens)
    target = output or file.parent / f"{name}.token"
    roles = role or []
    if os.path.lexists(target):
        raise CommandFailed(f"{target} is there already: name another one with --output", ExitStatus.CONFLICT)
    with _explained():
        expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
        token = add_token(file, name, roles, expires=expires)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.write(f"{token}\n")
    if roles and "reviewer" not in roles and not set(roles) & set(ROLES):
        stderr().print(
            f"{name} cannot approve yet: a reviewer has the role reviewer besides {', '.join(roles)}", soft_wrap=True
        )
    stdout().print(str(target), soft_wrap=True)


@group.command("list")
def list_(tokens: TokensOption = None) -> None:
    """List who has tokens, with which roles. The tokens themselves are stored nowhere."""
    from plangate_client.command.output.tables import WholeTable
    from plangate_core.rpc.identity.tokens_file import read_tokens_file

    with _explained():
        known = read_tokens_file(_tokens_file(tokens)).tokens
    table = WholeTable("identity", "digest", "expires")
    table.add_column("roles", overflow="fold", min_width=12)
    for digest, token in known.items():
        expires = "never" if token.expires is None else token.expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        caller = token.caller
        table.add_row(visible(caller.identity), digest.hex()[:12], expires, visible(", ".join(sorted(caller.roles))))
    stdout().print(table, crop=False)


@group.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The identity whose tokens end.")],
    tokens: TokensOption = None,
) -> None:
    """Strike all tokens of an identity off. Running servers refuse them within a second."""
    from plangate_client.servers.tokens_file import revoke as strike_off

    file = _tokens_file(tokens)
    with _explained():
        count = strike_off(file, name)
    stdout().print(f"{count} token{'s' if count != 1 else ''} of {name} struck off {file}", soft_wrap=True)


def _tokens_file(given: Path | None) -> Path:
    return given or Path(os.environ.get("PLANGATE_AUTH_TOKENS_FILE") or "tokens.yaml")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Failures of the tokens file end the command."""
    from plangate_client.servers.tokens_file import TokensRefused
    from plangate_core.rpc.identity.tokens_file import TokensFileInvalid

    try:
        yield
    except TokensRefused as error:
        raise CommandFailed(str(error), ExitStatus.NOT_FOUND) from error
    except TokensFileInvalid as error:
        raise CommandFailed(str(error), ExitStatus.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"{error.strerror}: {error.filename}") from error
