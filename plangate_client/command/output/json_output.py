"""Answers for programs: protobuf's own JSON with the contract's field names. 64-bit integers are strings there.

All ASCII: people look at it too, and JSON leaves what turns a terminal's text round as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


def message_json(message: Message) -> dict[str, Any]:
    """The message as JSON can hold it."""
    from google.protobuf.json_format import MessageToDict

    return {name: _whole(value) for name, value in MessageToDict(message, preserving_proto_field_name=True).items()}


def print_message(message: Message) -> None:
    """One message, indented."""
    print_json(message_json(message))


def print_messages(name: str, messages: Iterable[Message]) -> None:
    """One document: {name: [...]}."""
    print_json({name: [message_json(message) for message in messages]})


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One document, at once: somebody may be reading along.

    :param indent: None: on one line.
    """
    print(json.dumps(value, indent=indent), flush=True)


def _whole(value: Any) -> Any:
    # A Struct has doubles only; 3 went in as 3 and comes out as 3.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_whole(element) for element in value]
    return value
