"""A copy of a SQLite database, made while it may be in use."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from store_service.database.database import parse_url
from store_service.database.sqlite.file_lock import sqlite_file
from store_service.domain.errors import StartRefused

# How file systems say that they have no hard links, or no modes: FAT, what Windows shares, FUSE.
_NOT_THERE = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


class BackupRefused(Exception):
    """The copy cannot be made; the message says why, on one line."""


def sqlite_path(url: str) -> Path:
    """The database file. Raises StartRefused when the URL names none, or none that exists."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise StartRefused("this needs a SQLite database: PLANGATE_DATABASE_URL=sqlite:///path")
    path = Path(sqlite_file(parsed))
    try:
        is_file = path.is_file()
    except OSError as problem:
        raise StartRefused(f"{path} cannot be read: {problem.strerror}") from problem
    if not is_file:
        raise StartRefused(f"there is no database at {path}")
    return path


def back_up(url: str, destination: Path) -> int:
    """Copy a SQLite database while it may be in use; returns the copy's size in bytes.

    The copy appears under its name only when it is whole and on the disk. Raises BackupRefused, StartRefused.
    """
    source_path = sqlite_path(url)
    try:
        if destination.exists():
            raise BackupRefused(f"{destination} exists already")
        # A temporary name, readable by its owner only while it is written.
        descriptor, name = tempfile.mkstemp(".partial", f"{destination.name}.", destination.parent)
    except OSError as problem:
        raise BackupRefused(f"{destination} cannot be written: {problem.strerror}") from problem
    os.close(descriptor)
    partial = Path(name)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source_path))}?mode=ro", uri=True)) as source:
            if not source.execute("PRAGMA table_info(alembic_version)").fetchall():
                raise BackupRefused(f"{source_path} is not a store's database: it has no table alembic_version")
            with closing(sqlite3.connect(partial)) as copy:
                # A copy that fails is thrown away: it needs no journal to be rolled back with.
                copy.execute("PRAGMA journal_mode = OFF")
                # In one step: a copy in several starts again whenever the server commits in between. In WAL mode
                # no writer waits for it.
                source.backup(copy, pages=-1)
                found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise BackupRefused(f"the copy is damaged: {found}")
        # As many may read the copy as the database, where files have modes of their own.
        try:
            partial.chmod(stat.S_IMODE(source_path.stat().st_mode))
        except OSError as problem:
            if problem.errno not in _NOT_THERE:
                raise
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        _name(partial, destination)
        _sync_directory(destination.parent)
    except sqlite3.Error as problem:
        raise BackupRefused(f"SQLite cannot copy {source_path}: {problem}") from problem
    except OSError as problem:
        raise BackupRefused(f"{destination} cannot be written: {problem.strerror}") from problem
    finally:
        partial.unlink(missing_ok=True)
    return destination.stat().st_size


def _name(partial: Path, destination: Path) -> None:
    """Give a whole file its name, in one step and never in place of another file. Raises OSError, BackupRefused."""
    # Linux has a rename that replaces nothing. Python does not offer it, nor do all C libraries and file systems.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        failure = errno.ENOSYS
    elif rename(_AT_FDCWD, os.fsencode(partial), _AT_FDCWD, os.fsencode(destination), _RENAME_NOREPLACE):
        failure = ctypes.get_errno()
    else:
        return
    if failure not in (*_NOT_THERE, errno.EINVAL):
        raise OSError(failure, os.strerror(failure))
    try:
        # Not rename(), which replaces a file made meanwhile. A process killed in between leaves two names, and the
        # store serves no file that has two.
        os.link(partial, destination)
    except OSError as problem:
        if problem.errno not in _NOT_THERE:
            raise
    else:
        partial.unlink()
        return
    raise BackupRefused(
        f"{destination} cannot be written: its file system has neither hard links nor a rename that replaces "
        "nothing; back up to another one, and copy the file from there"
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        # Windows shares and some of FUSE have nothing to sync there.
        if problem.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
