"""Names of the contract's enums for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message


def enum_name(message: Message, field: str) -> str:
    """The name of a field's enum value without its type's prefix: PROPOSAL_STATE_PENDING -> PENDING."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    assert enum is not None
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
    return enum.values_by_number[getattr(message, field)].name.removeprefix(f"{prefix}_")
