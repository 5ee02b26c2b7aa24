"""What this machine, or the container around this process, has to offer."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores this process may use: by affinity, and by the container's CPU quota (cgroup v2). At least 1.

    More threads than that make llama.cpp slower by far: its threads wait for each other after every step.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def available_memory_bytes(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int | None:
    """Memory that can be taken without swapping, within the container's limit. None where the system does not tell."""
    candidates = []
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            candidates.append(int(line.split()[1]) * 1024)
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        # The page cache counts as used but gives way.
        cache = [
            int(line.split()[1]) for line in _read(cgroup / "memory.stat").splitlines() if line.startswith("file ")
        ]
        candidates.append(int(limit) - int(used) + sum(cache))
    return min(candidates) if candidates else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
