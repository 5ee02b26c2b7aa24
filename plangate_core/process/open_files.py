"""How many files and connections a server may have open."""

from __future__ import annotations

import resource

_ENOUGH = 65_536


def allow_many_open_files() -> None:
    """Raise the soft limit, which shells leave at 1,024 for programs that use select(), to the hard one or to enough.

    Every connection is a file. Without any left, reads could not open the database, and new clients would wait.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # Some systems have a further limit that they do not tell. It stays as it was.
        return
