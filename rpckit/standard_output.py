"""What a program that answers and ends does about a standard output that does not take what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY_READS = 141
"""The exit status of a program whose reader has gone, as a shell gives it for SIGPIPE."""


class OutputRefused(Exception):
    """Standard output does not take what is said; the message says why."""


class ReaderGone(Exception):
    """Nobody reads standard output any more."""


@contextmanager
def written(what: str) -> Iterator[None]:
    """What is printed within has been written afterwards. Raises OutputRefused, which names `what`, and ReaderGone."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is still kept goes nowhere: Python would try once more at its end, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from error
        raise OutputRefused(f"{what} cannot be written: {error.strerror}") from error
