"""The two outputs: answers on standard output, everything else on standard error."""

from __future__ import annotations

from rich.console import Console

# Where no terminal says how wide it is: files and pipes.
_WIDTH_WITHOUT_TERMINAL = 110
# In less, tables leave out what a reviewer must see; the terminal breaks these lines itself.
_LEAST_WIDTH = 40


def answers() -> Console:
    """Standard output. Texts are printed as they are: no markup, no emoji names, no colours by guess."""
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH_WITHOUT_TERMINAL
    return console


def remarks() -> Console:
    """Standard error: progress, questions and failures."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH_WITHOUT_TERMINAL
    return console
