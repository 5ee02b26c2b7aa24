"""Words of texts and of names, as requests, actions and arguments are compared by them."""

from __future__ import annotations

import re

STEM_CHARACTERS = 5
_SHORTEST_STEM = 3
# Han, Hiragana, Katakana, Thai, Lao, Burmese and Khmer are written without blanks between words; in Hangul particles
# stand behind short words without one.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_WORD = re.compile(
    rf"[{_UNSPACED}]+"
    rf"|[A-Z]?(?:(?![{_UNSPACED}])[^\W\d_A-Z])+"
    rf"|[A-Z]+(?!(?![{_UNSPACED}])[^\W\d_A-Z])"
    r"|\d+"
)
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def words(text: str) -> list[str]:
    """The words of a text or a name, in small letters: `restartService`, `restart_service` and "restart service" alike.

    Of scripts without blanks between words every pair of neighbouring characters counts as a word.
    """
    found: list[str] = []
    for word in _WORD.findall(text):
        if len(word) > 2 and _IS_UNSPACED.match(word):
            found.extend(word[start : start + 2] for start in range(len(word) - 1))
        else:
            found.append(word.casefold())
    return found


def stems(text: str) -> list[str]:
    """Words without their endings, roughly: restart, restarting and RestartService begin alike.

    Words of one and two letters are left out, single characters and pairs of scripts without blanks are not.
    """
    return [word[:STEM_CHARACTERS] for word in words(text) if len(word) >= _SHORTEST_STEM or _IS_UNSPACED.match(word)]
