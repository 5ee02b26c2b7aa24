"""Texts that others wrote, made safe and short for a terminal.

A model's or a requester's text may hold escape sequences, or characters that turn the reading direction round: what a
reviewer sees must be what is there.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.timestamp_pb2 import Timestamp

_SHORT_ID_CHARACTERS = 8

# Printable to Python, and yet nothing to see: fillers and the blank of Braille, joiners and variation selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_WORD = re.compile(r"\w+")
# Alphabets with letters that look like Latin ones.
_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "FULLWIDTH", "MATHEMATICAL")


def visible(text: str, *, newlines: bool = False) -> str:
    """The text with everything that a terminal would not show as itself written as an escape, for example \\x1b.

    So are letters of another alphabet within a word of Latin ones: to the eye they are Latin letters too.

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
    return "".join(_escape(letter) if unicodedata.name(letter, "").startswith(_ALIKE) else letter for letter in letters)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def struct_text(struct: Struct, *, indent: int | None = None) -> str:
    """JSON of a Struct as it is stored: whole numbers without a point, keys sorted, every character visible."""
    from rpckit.struct_codec import StructRefused, struct_to_json

    try:
        value = struct_to_json(struct, "args", byte_limit=1 << 20, depth_limit=100)
    except StructRefused as error:
        return f"<{error}>"
    return visible(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent), newlines=indent is not None)


def short_id(identifier: str) -> str:
    """The end of an id, which tells more than its beginning: UUIDv7 begins with the time."""
    return visible(identifier[-_SHORT_ID_CHARACTERS:])


def name_of(enum_name: str, prefix: str) -> str:
    """PROPOSAL_STATE_PENDING -> PENDING."""
    return enum_name.removeprefix(prefix)


def time_text(time: Timestamp, *, with_date: bool = True) -> str:
    """A time in the reader's own zone, to the second; empty when it is not set."""
    if not time.seconds and not time.nanos:
        return ""
    local = time.ToDatetime(tzinfo=UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S" if with_date else "%H:%M:%S")
