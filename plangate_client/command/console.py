"""The two outputs: answers on standard output, everything else on standard error."""

from __future__ import annotations

from rich.console import Console

# Where no terminal says how wide it is: files and pipes.
_WIDTH_WITHOUT_TERMINAL = 110


def answers() -> Console:
    """Standard output. Texts are printed as they are: no markup, no emoji names, no colours by guess."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


def remarks() -> Console:
    """Standard error: progress, questions and failures."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console
