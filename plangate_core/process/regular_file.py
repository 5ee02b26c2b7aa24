"""Reading files whose place somebody else may have taken, and seeing that one has changed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular_file(path: Path, most: int = -1) -> bytes:
    """A file's bytes, no more than `most` if that is given. Raises OSError, also for what would keep one waiting: a
    pipe without a writer, a device without an end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def file_stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file is written, moved in place of another, or made readable; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
