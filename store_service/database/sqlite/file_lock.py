"""A SQLite file besides its contents: where the URL says it is, who may serve it, whether it is still there."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from sqlalchemy.engine import URL

from store_service.domain.errors import DatabaseInUse, DatabaseReadOnly, StartRefused


def sqlite_file(url: URL) -> str:
    """The path, as the URL says it. Raises StartRefused."""
    if not url.database or url.database == ":memory:" or url.host or url.username or url.password or url.port:
        raise StartRefused("the store needs a SQLite file: sqlite:///path")
    for name in sorted(url.query):
        # Some change which file is opened, beside the one that is locked.
        raise StartRefused(f"the database URL has an option {name!r}; there are none for SQLite: sqlite:///path")
    return url.database


class FileLock:
    """An exclusive lock on a database file, made when it does not exist, held until closed.

    It is on the file itself, not on its name: one file that is mounted twice or has links is served once. The operating
    system releases it when the process dies. SQLite's own locks are of another kind and do not notice it.
    """

    def __init__(self, path: str) -> None:
        """Raises DatabaseReadOnly, DatabaseInUse and StartRefused."""
        self.path = path
        self._descriptor = _open(path)
        try:
            _refuse_other_names(path, os.fstat(self._descriptor))
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise DatabaseInUse(path) from error
        except StartRefused:
            os.close(self._descriptor)
            raise

    def is_of_the_path(self) -> bool:
        """Whether the path still leads to the file that is locked."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Releases the lock. After the database's connections: closing any descriptor of a file releases SQLite's locks
        of the whole process."""
        os.close(self._descriptor)


def _open(path: str) -> int:
    """A new file is readable by its owner only (it holds prompts and arguments); SQLite copies that mode to the files
    beside it. An existing file keeps its mode."""
    try:
        # Not through a link whose target does not exist.
        file = Path(os.path.realpath(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        # O_NONBLOCK: opening a pipe would wait for its writer.
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise DatabaseReadOnly(path) from error


def _refuse_other_names(path: str, status: os.stat_result) -> None:
    """SQLite's log of writes goes by the file's name: what was committed under another one would be overwritten."""
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise StartRefused(
            f"{path} is one of {status.st_nlink} hard links to one file, of which each could be served by itself: "
            f"remove the others (find DIRECTORY -samefile {path} names them)"
        )
