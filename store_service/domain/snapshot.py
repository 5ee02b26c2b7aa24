"""What the log says of plans and proposals, to those who know no messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from store_service.domain.events import Event
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal


@dataclass(frozen=True, slots=True)
class LogRules:
    """How entities are written into the log, and how rows are compared with it."""

    encode_snapshot: Callable[[Plan | Proposal], bytes]
    """An entity as the bytes of its message: what clients are sent, and what the log hashes and keeps."""
    is_snapshot_of: Callable[[bytes, Plan | Proposal], bool]
    """Whether an event's snapshot says what the entity does."""
    history_fault: Callable[[Sequence[Event]], str]
    """Why all events of one proposal, in their order, are not what the rules allow; empty when they are."""
    entry_fault: Callable[[Event], str]
    """Why an entry is not one that a store wrote; empty when it is."""
