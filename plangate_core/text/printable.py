"""Texts that others wrote, made safe to show.

A model's or a requester's text may hold escape sequences, or characters that turn the reading direction round: what a
reviewer sees must be what is there.
"""

from __future__ import annotations

import functools
import re
import unicodedata

# Printable to Python, and yet nothing to see: fillers and the blank of Braille, joiners and variation selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# With accents that stand by themselves, and Latin letters in circles and squares.
_WORD = re.compile("[\\w\u0300-\u036f\u249c-\u24e9\U0001f110-\U0001f189\U0001f1e6-\U0001f1ff]+")
# Scripts with letters that look like Latin ones, as their letters' names begin. Scripts that people do write within one
# word with Latin letters, such as kana, Hangul and Thai, are not among them.
_ALIKE = (
    *("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "FULLWIDTH", "MATHEMATICAL", "LISU", "DESERET", "OSAGE"),
    *("GEORGIAN", "ETHIOPIC", "TIFINAGH", "CANADIAN SYLLABICS", "GOTHIC", "RUNIC", "OGHAM", "OLD ", "NKO ", "VAI "),
    *("BAMUM", "MIAO", "LYDIAN", "LYCIAN", "CARIAN", "PHOENICIAN", "ELBASAN", "CAUCASIAN ALBANIAN", "VITHKUQI"),
    *("WARANG CITI", "PAU CIN HAU", "MEDEFAIDRIN", "SHAVIAN", "ADLAM", "HANIFI ROHINGYA", "MENDE", "GLAGOLITIC"),
    *("CIRCLED LATIN", "NEGATIVE CIRCLED LATIN", "SQUARED LATIN", "NEGATIVE SQUARED LATIN", "PARENTHESIZED LATIN"),
    *("REGIONAL INDICATOR", "LATIN LETTER SMALL CAPITAL", "LATIN SMALL LETTER DOTLESS"),
)
# Of other scripts: Hebrew and Arabic strokes and rings, rings and strokes of Indian scripts, Burmese and Hangul.
_ALIKE_LETTERS = frozenset(
    "\u05d5\u05d8\u05df\u05e1\u0627\u0647\u06be\u06c1\u06d5\u0b20\u0d20\u0da7\u0e50\u0ed0\u101d\u1110\u110b\u1175\u3147\u3163"
    # Latin ones of the first blocks: kra, tones, clicks, wynn, iota.
    "\u0138\u0184\u0185\u0196\u01a8\u01bd\u01bf\u01c0\u01c1\u01c2\u01c3"
)
# Latin letters behind the first blocks are those of phonetics and manuscripts, but for letters with accents and for
# these of living languages: schwa, open e and o, hooked b and d, capital sharp s.
_FIRST_LATIN_BLOCKS_END = "\u0250"
_LIVING_LATIN = frozenset("\u0259\u025b\u0254\u0253\u0257\u1e9e")


def visible(text: str, *, newlines: bool = False) -> str:
    """The text with everything that a terminal would not show as itself written as an escape, for example \\x1b.

    So is, within a word of Latin letters, what looks like another one than it is: letters of other alphabets, styled
    and phonetic ones, and the dotless i, though Turkish writes it: one dot less is too easy to overlook. Accents stay.

    :param newlines: leave line breaks as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _WORD.sub(_unmixed, text)
    return "".join(
        character
        if (character.isprintable() and not _BLANK.match(character)) or (newlines and character == "\n")
        else _escape(character)
        for character in text
    )


def _unmixed(word: re.Match[str]) -> str:
    letters = word.group()
    if letters.isascii() or not any(letter.isascii() and letter.isalpha() for letter in letters):
        return letters
    return "".join(_escape(letter) if _looks_like_latin(letter) else letter for letter in letters)


@functools.lru_cache(maxsize=4096)
def _looks_like_latin(letter: str) -> bool:
    """Whether a reader could take it for a letter or digit of ASCII, or for a mark between them."""
    if letter.isascii():
        return False
    plain = unicodedata.normalize("NFKC", letter)
    if plain.isascii() and any(character.isalpha() for character in plain):
        return True
    name = unicodedata.name(letter, "")
    if letter.isdecimal() or name.startswith(_ALIKE) or not _ALIKE_LETTERS.isdisjoint(plain):
        return True
    # With accents it can be taken apart.
    accented = unicodedata.normalize("NFD", letter)[0].isascii()
    return "LATIN" in name and letter >= _FIRST_LATIN_BLOCKS_END and not accented and letter not in _LIVING_LATIN


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
