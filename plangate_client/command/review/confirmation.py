"""Confirmation before a change: by a question at a terminal, or by --yes; without either the change is refused."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import checked_request_id
from plangate_client.command.session import Session, session_of

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required where there is no terminal.")]


def can_ask() -> bool:
    """Whether a person sits at the terminal: reads from it, and sees what is printed."""
    return sys.stdin.isatty() and (sys.stderr.isatty() or sys.stdout.isatty())


def require_answer(yes: bool) -> None:
    """Refuse before anything is looked up, where there is neither a terminal nor --yes.

    :raises CommandFailed: NOT_CONFIRMED.
    """
    if not yes and not can_ask():
        raise CommandFailed(
            "nothing was changed: there is no terminal to ask at; repeat it with --yes if it is meant",
            ExitStatus.NOT_CONFIRMED,
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless --yes was given. Raises CommandFailed when the answer is no."""
    if not yes and not typer.confirm(question, err=True):
        raise CommandFailed("nothing was changed")


def begin_change(context: typer.Context, request_id: str | None, *, yes: bool) -> tuple[Session, str | None]:
    """The session and the checked request_id of a command that changes something. Ends it where nobody could answer."""
    session = session_of(context)
    repeated = checked_request_id(request_id)
    require_answer(yes)
    return session, repeated
