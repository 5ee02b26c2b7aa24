"""Identities that a reader would take for one another."""

from __future__ import annotations

import functools
import unicodedata

# Characters of ASCII that are drawn alike in common fonts, as in the Unicode consortium's table of confusables
# (UTS #39), after case was folded: I and l are one letter then, and so are O and o.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "!": "l", "m": "rn", "w": "vv", "5": "s", "$": "s"})
_SEPARATORS = str.maketrans("", "", " ._-+'`\"")


@functools.lru_cache(maxsize=4096)
def person_key(identity: str) -> str:
    """What an identity has in common with those that look like it: equal keys never count as two people.

    Case, compatibility forms, digits drawn like letters (0 and O, 1 and l) and separators (dot, blank, hyphen,
    underscore) do not tell people apart.
    """
    folded = unicodedata.normalize("NFKC", identity).casefold()
    return folded.translate(_ALIKE).translate(_SEPARATORS) or folded
