"""Numbers as people write them in words."""

from __future__ import annotations

_COUNTED = "zero one two three four five six seven eight nine ten"

NUMBER_WORDS = {word: number for number, word in enumerate(_COUNTED.split())}
"""From "zero" to "ten"."""
