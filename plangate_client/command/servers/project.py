"""`plangate init`: a project of one's own."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.console import stdout

_RENAMED = {"gitignore": ".gitignore"}


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make it; made when missing.")],
) -> None:
    """Make a project: a catalogue with an action of each kind, a policy, tests of both, a worker, a compose file."""
    files = _files(directory.resolve().name)
    there = [name for name in files if os.path.lexists(directory / name)]
    if there:
        raise CommandFailed(
            f"{directory} holds {', '.join(there)} already: nothing is overwritten", ExitStatus.CONFLICT
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Whole files only: what is cut short leaves nothing but this directory.
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=directory) as unfinished:
            for name, text in files.items():
                Path(unfinished, name).write_text(text, encoding="utf-8")
            for name in files:
                Path(unfinished, name).rename(directory / name)
    except OSError as error:
        raise CommandFailed(f"{error.strerror}: {error.filename}") from error
    console = stdout()
    console.print(f"{directory}: {', '.join(files)}", soft_wrap=True)
    place = "" if directory.resolve() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    console.print("\nNext, in this order, each in a terminal of its own:\n", soft_wrap=True)
    for command, why in (
        (f"{place}plangate up --catalogue catalogue.yaml --policy policy.yaml", "the servers and the review page"),
        (f"{place}plangate work --catalogue catalogue.yaml --worker actions", "carries out what was approved"),
        ('plangate plan "refund order 4711 with 20 euros"', "asks; `plangate inbox --as bob` shows what waits for bob"),
    ):
        console.print(f"  {command}\n      {why}", soft_wrap=True)


def _files(project: str) -> dict[str, str]:
    """Name -> text of the project's files."""
    # A Compose project's name has no other characters.
    name = re.sub(r"[^a-z0-9_-]", "-", project.lower()).strip("-_") or "plangate"
    template = resources.files("plangate_client") / "project_template"
    return {
        _RENAMED.get(file.name, file.name): file.read_text(encoding="utf-8").replace("{name}", name)
        for file in sorted(template.iterdir(), key=lambda file: file.name)
        if file.is_file()
    }
