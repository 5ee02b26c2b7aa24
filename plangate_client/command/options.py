"""Options that several subcommands share."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

MAX_INT64 = 2**63 - 1
"""The most that the contract's counters hold."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Whole id, or a beginning or end of it that is unique.")]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", metavar="UUID", help="An id of your own: the same id again gives the first answer."),
]


def checked_request_id(request_id: str | None) -> str | None:
    """The id, if it is a UUID. Ends the command otherwise."""
    if request_id is None:
        return None
    try:
        return str(uuid.UUID(request_id))
    except ValueError as error:
        raise typer.BadParameter("--request-id must be a UUID") from error
