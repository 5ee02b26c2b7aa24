"""The two outputs of the command: results on standard output, everything else on standard error."""

from __future__ import annotations

import io
import re
import sys
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rich.console import Console

# Files and pipes: no line is broken.
_WIDTH_WITHOUT_TERMINAL = 10_000
# In less, tables leave out what a reviewer must see; the terminal breaks these lines itself.
_LEAST_WIDTH = 40


def stdout() -> Console:
    """Standard output, as a console. Texts are printed as they are: no markup, no emoji names, no colours by guess."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Standard error: progress, questions and failures."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    # Not at the top: most of the command's modules import this one, and --help needs no console.
    from rich.console import Console

    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        console.width = max(console.width, _LEAST_WIDTH)
        return console
    unpadded = cast("IO[str]", _Unpadded(stream))
    return Console(file=unpadded, markup=False, emoji=False, highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


class _Unpadded(io.TextIOBase):
    """Writes lines without the blanks that fill a table's last column."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(re.sub(r" +(?=\n)", "", text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False
