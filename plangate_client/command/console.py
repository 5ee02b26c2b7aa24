"""The two outputs: answers on standard output, everything else on standard error."""

from __future__ import annotations

from rich.console import Console


def answers() -> Console:
    """Standard output. Texts are printed as they are: no markup, no emoji names, no colours by guess."""
    return Console(markup=False, emoji=False, highlight=False)


def remarks() -> Console:
    """Standard error: progress, questions and failures."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)
