"""`plangate catalogue from-worker`: the catalogue of a Python worker's actions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus

group = typer.Typer(
    name="catalogue", no_args_is_help=True, rich_markup_mode=None, help="Catalogues made from what there is."
)


@group.callback()
def _group() -> None:
    """Keeps `from-worker` a subcommand of its own."""


@group.command("from-worker")
def from_worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE", help="A Python module with @worker.action functions; or MODULE:NAME.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there; default: standard output.")
    ] = None,
) -> None:
    """Write the catalogue that the signatures of a worker's functions say."""
    from plangate_client.worker import WorkerNotFound, catalogue_yaml, load_actions
    from plangate_core.catalogue.catalogue import CatalogueInvalid

    try:
        text = catalogue_yaml(load_actions(target).values())
    except (WorkerNotFound, CatalogueInvalid) as error:
        raise CommandFailed(str(error), ExitStatus.USAGE) from error
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"cannot write {output}: {error.strerror}") from error
