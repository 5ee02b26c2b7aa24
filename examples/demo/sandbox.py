"""A little server's directory for the demo: made fresh, looked at before and after."""

from __future__ import annotations

import os
import time
from pathlib import Path

_DAY_SECONDS = 24 * 3600

_WEB_LOG = """\
09:12:01 INFO  GET /orders 200 12 ms
09:12:04 ERROR cannot write upload: no space left on device
09:12:05 INFO  GET /orders/17 200 9 ms
09:13:40 ERROR cannot write upload: no space left on device
09:14:02 WARN  disk 97 % full
09:15:10 CRITICAL order 4711 lost: no space left on device
"""


def make_sandbox(directory: Path) -> None:
    """Fill an empty directory."""
    files = {
        "logs/web.log": (_WEB_LOG.encode(), 0),
        "logs/web-2026-08.log": (_WEB_LOG.encode() * 900, 90),
        "logs/web-2026-09.log": (_WEB_LOG.encode() * 1100, 60),
        "logs/jobs.log": (b"03:00:00 INFO  nightly report done\n" * 40, 1),
        "tmp/upload-cache.bin": (bytes(3_000_000), 12),
        "tmp/session.txt": (b"draft\n", 2),
        "data/customers.csv": (b"id,name\n1,Ada\n2,Grace\n", 200),
    }
    for name, (content, age_days) in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written = time.time() - age_days * _DAY_SECONDS
        os.utime(path, (written, written))


def contents(directory: Path) -> dict[str, bytes]:
    """What is in every file below the directory, by its path from there."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
