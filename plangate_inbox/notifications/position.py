"""How far each receiver has come in the log, kept in one small file per receiver."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path


class NotificationsRefused(Exception):
    """Notifications cannot be delivered; the message says why, on one line."""


class Position:
    """One receiver's place: every revision up to it was delivered, or was none of its business.

    `reminded` holds ids of notifications before expiry, which have no revision. Both survive a crash: a file is written
    aside, synced and moved in place.
    """

    def __init__(self, file: Path) -> None:
        """Reads the file when it is there. Raises OSError, ValueError when it is damaged."""
        self._file = file
        self.revision: int | None = None
        """None: the receiver is new."""
        self.reminded: dict[str, str] = {}
        """Notification id -> when its proposal expires, as ISO time."""
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.revision = int(kept["revision"])
            self.reminded = {str(id): str(time) for id, time in kept["reminded"].items()}

    def advance(self, revision: int, *, durably: bool = True) -> None:
        """Everything up to `revision` is done. Not durably: a restart may look at it once more."""
        if self.revision is None or revision > self.revision:
            self.revision = revision
        if durably:
            self._write()

    def remind(self, id: str, expires: str, now: str) -> None:
        """A notification before expiry was delivered. Those of proposals that have expired by `now` are forgotten."""
        self.reminded = {kept: time for kept, time in self.reminded.items() if time > now}
        self.reminded[id] = expires
        self._write()

    def _write(self) -> None:
        aside = self._file.with_suffix(".new")
        content = json.dumps({"revision": self.revision or 0, "reminded": self.reminded})
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._file)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's positions alone. Raises NotificationsRefused, OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NotificationsRefused(f"another process delivers notifications from {directory}") from error
        yield
