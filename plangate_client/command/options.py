"""Options that several subcommands share, and the question that --yes answers."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.review.completion import complete_id

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

MAX_INT64 = 2**63 - 1
"""The most that the contract's counters hold."""


def whole_number(least: int, most: int = MAX_INT64) -> Callable[[str], int]:
    """A parser for options whose bounds are not worth a line of help."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a whole number") from None
        if not least <= number <= most:
            raise typer.BadParameter(f"{number} is not between {least} and {most}")
        return number

    return parse


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required where there is no terminal.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
CommentOption = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Goes to the log.")]
IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Whole id, or a beginning or end of it that is unique.", autocompletion=complete_id
    ),
]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", metavar="UUID", help="An id of your own: the same id again gives the first answer."),
]
VersionOption = Annotated[
    int,
    typer.Option(
        "--version",
        metavar="N",
        parser=whole_number(0),
        show_default=False,
        help="Only if it is still at this version.",
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", metavar="N", parser=whole_number(1), help="At most this many.")
]
LabelOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="FILE|JSON", help="Facts, as a JSON object or a file that holds one."),
]


def checked_request_id(request_id: str | None) -> str | None:
    """The id, if it is a UUID. Ends the command otherwise."""
    if request_id is None:
        return None
    try:
        return str(uuid.UUID(request_id))
    except ValueError as error:
        raise typer.BadParameter("--request-id must be a UUID") from error


def require_answer(yes: bool) -> None:
    """Refuse before anything is looked up, where there is neither --yes nor a person who sees and answers.

    :raises CommandFailed: NOT_CONFIRMED.
    """
    if not yes and not (sys.stdin.isatty() and (sys.stderr.isatty() or sys.stdout.isatty())):
        raise CommandFailed(
            "nothing was changed: there is no terminal to ask at; repeat it with --yes if it is meant",
            ExitStatus.NOT_CONFIRMED,
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless --yes was given. Raises CommandFailed when the answer is no."""
    if not yes and not typer.confirm(question, err=True):
        raise CommandFailed("nothing was changed")


def json_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object that an option's value is. Ends the command otherwise."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{option}: {error}", ExitStatus.USAGE) from error
    if not isinstance(value, dict):
        raise CommandFailed(f"{option}: must be a JSON object", ExitStatus.USAGE)
    return value


def struct_of(text: str, option: str) -> Struct:
    """As json_object, for the contract."""
    from plangate_core.contract.struct_codec import StructRefused, json_to_struct

    try:
        return json_to_struct(json_object(text, option), option.lstrip("-"))
    except StructRefused as error:
        raise CommandFailed(f"{option}: {error}", ExitStatus.USAGE) from error
