"""Servers under measurement as processes of their own, so that a client never shares their interpreter."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def server(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Start `argv`, wait for "listening on HOST:PORT" on its standard output, yield address and process id, stop it."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := re.search(r"listening on (\S+)", line):
                    yield match[1], process.pid
                    return
            errors.seek(0)
            raise RuntimeError(f"{argv[-1]} did not start: {errors.read()[-2000:]}")
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.stdout.close()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """User plus system time that a process has used, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
