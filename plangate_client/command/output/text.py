"""Values as text for a terminal: arguments, ids, states, times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

_SHORT_ID_CHARACTERS = 8


def struct_text(struct: Struct, *, indent: int | None = None) -> str:
    """JSON of a Struct as it is stored: whole numbers without a point, keys sorted, every character visible."""
    from plangate_core.contract.struct_codec import StructRefused, struct_to_json

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
