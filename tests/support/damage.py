"""Ways to harm a running store from outside. Each says why it cannot be done here instead of pretending."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own with so little room. Needs the right to mount."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False)


@contextlib.contextmanager
def mounted_twice(file: Path, other: Path) -> Iterator[Path]:
    """Another path of the same file, which is no link. Needs the right to mount."""
    other.touch()
    if os.getuid() != 0 or subprocess.run(["mount", "--bind", file, other], capture_output=True).returncode != 0:
        pytest.skip("mounting a file twice needs root")
    try:
        yield other
    finally:
        subprocess.run(["umount", other], check=True)


class FailingSyncs:
    """Makes every fdatasync and fsync of a process fail while it is on (libfiu)."""

    def __init__(self) -> None:
        if not (shutil.which("fiu-run") and shutil.which("fiu-ctrl")):
            pytest.skip("making fdatasync fail needs fiu-run (Debian: fiu-utils)")

    launcher = ("fiu-run", "-x")

    def turn_on(self, pid: int) -> None:
        for call in ("fdatasync", "fsync"):
            subprocess.run(["fiu-ctrl", "-c", f"enable name=posix/io/sync/{call}", str(pid)], check=True)

    def turn_off(self, pid: int) -> None:
        for call in ("fdatasync", "fsync"):
            subprocess.run(["fiu-ctrl", "-c", f"disable name=posix/io/sync/{call}", str(pid)], check=True)


class WallClock:
    """A process's wall clock, moved while it runs; its monotonic clock goes on (libfaketime)."""

    def __init__(self, directory: Path) -> None:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            pytest.skip("moving the clock needs libfaketime")
        self._file = directory / "clock"
        self.move("+0")
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def move(self, offset: str) -> None:
        """To so far from the true time, for example "-1h" or "+2h"."""
        self._file.write_text(f"{offset}\n")
