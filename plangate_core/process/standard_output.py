"""What a program does about a standard output that cannot take what it says: a full disk, a closed pipe."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

READER_GONE_STATUS = 141
"""The exit status of a program whose reader has gone, as a shell gives it for SIGPIPE."""


class OutputRefused(Exception):
    """Standard output cannot be written; the message has the reason."""


class ReaderGone(Exception):
    """Nobody reads standard output any more."""


@contextmanager
def written(what: str) -> Iterator[None]:
    """What is printed within has been written afterwards. Raises OutputRefused, which names `what`, and ReaderGone."""
    try:
        yield
        flush()
    except OSError as error:
        give_up()
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from error
        raise OutputRefused(f"{what} cannot be written: {error.strerror}") from error


def prepare() -> None:
    """Write characters that the output's encoding lacks as escapes, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what is still kept. Raises OSError; at the end of the program Python would only complain."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up() -> None:
    """Write nothing more: what is still kept goes nowhere, so that the flush at the program's end cannot fail too."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
