"""`plangate catalogue`: catalogues made of what exists: API descriptions, and a Python worker's actions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.console import stderr
from plangate_core.text.printable import visible

group = typer.Typer(
    name="catalogue", no_args_is_help=True, rich_markup_mode=None, help="Catalogues made from what there is."
)

MAX_NOTES_SHOWN = 200


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


@group.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="An MCP server's tools/list answer, an OpenAPI or Swagger file, or function definitions, as JSON or "
            "YAML; - reads standard input.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of standard output.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="PATTERN", help="Actions named like this; may be repeated.")
    ] = None,
    server: Annotated[
        str, typer.Option(metavar="URL", help="Where the http: bindings of an OpenAPI file send, if not as it says.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the output file if there is one.")] = False,
) -> None:
    """Make a catalogue, and say everything that had to be changed."""
    from plangate_core.catalogue.importing.imported import ImportRefused
    from plangate_core.catalogue.importing.importer import import_catalogue

    try:
        draft = import_catalogue(_read(source), only or (), server)
    except ImportRefused as error:
        raise CommandFailed(f"{source}: {error}", ExitStatus.USAGE) from error
    if output is None:
        sys.stdout.write(draft.text)
    else:
        _write(output, draft.text, force=force)
    out = stderr()
    notes = [*draft.notes, *(f"check: {warning}" for warning in draft.warnings)]
    for note in notes[:MAX_NOTES_SHOWN]:
        out.print(f"! {visible(note)}", soft_wrap=True)
    if len(notes) > MAX_NOTES_SHOWN:
        out.print(f"! and {len(notes) - MAX_NOTES_SHOWN} notes more")
    where = f" in {output}" if output else ""
    out.print(
        f"{draft.actions} actions{where}. None may run yet: write a policy, then `plangate check`.", soft_wrap=True
    )


def _read(source: str) -> str:
    from plangate_core.catalogue.importing.importer import MAX_SOURCE_BYTES
    from plangate_core.process.regular_file import read_regular_file

    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
        else:
            data = read_regular_file(Path(source), MAX_SOURCE_BYTES + 1)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise CommandFailed(f"cannot read {source}: {error.strerror or error}", ExitStatus.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{source} is not UTF-8", ExitStatus.USAGE) from error


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CommandFailed(f"{output} exists: --force replaces it", ExitStatus.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"cannot write {output}: {error.strerror}", ExitStatus.USAGE) from error
