"""What the command does about a standard output that cannot take what it says: a full disk, a closed pipe."""

from __future__ import annotations

import io
import os
import sys


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
