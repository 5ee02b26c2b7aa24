"""Servers under measurement as processes of their own, so that a client never shares their interpreter."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc

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


@contextlib.contextmanager
def store(database: Path | str) -> Iterator[tuple[str, int]]:
    """Our store on a durable SQLite file, or on the database of a URL: its address and process id."""
    environment = {
        "PLANGATE_STORE_LISTEN": "127.0.0.1:0",
        "PLANGATE_DATABASE_URL": database if isinstance(database, str) else f"sqlite:///{database}",
        "PLANGATE_LOG_LEVEL": "warning",
    }
    with server([sys.executable, "-m", "store_service"], environment) as started:
        yield started


async def serve(bare: grpc.aio.Server) -> None:
    """For servers to compare with: print the address and serve until killed."""
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await bare.wait_for_termination()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User plus system time that a process has used, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
