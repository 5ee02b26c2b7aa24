"""Texts that must not be long: for messages, logs and tables."""

from __future__ import annotations


def truncate(text: str, characters: int) -> str:
    """At most so many characters, the last one an ellipsis when something was left out."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
