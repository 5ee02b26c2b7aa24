"""The log: what an event is, its canonical bytes, and the chain of hashes (docs/reference/event-log.md)."""

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from store_service.domain.actor import Actor
from store_service.domain.instant import Instant

# The hash before the first event.
GENESIS_HASH = bytes(32)
# The first bytes of every hashed message: another layout would have another tag.
LAYOUT_TAG = b"plangate.event.v1\n"
_FIXED = struct.Struct(">32sQBQqB")
_LENGTH = struct.Struct(">I")
_NOTHING = _LENGTH.pack(0)


class EntityType(IntEnum):
    """The numbers are those of the wire's enum; they are hashed."""

    PLAN = 1
    PROPOSAL = 2


class EventKind(StrEnum):
    PLAN_CREATED = "plan.created"
    PLAN_CLAIMED = "plan.claimed"
    PLAN_LEASE_RENEWED = "plan.lease_renewed"
    PLAN_PLANNED = "plan.planned"
    PLAN_REQUEUED = "plan.requeued"
    PLAN_RETURNED = "plan.returned"
    PLAN_FAILED = "plan.failed"
    PLAN_CANCELLED = "plan.cancelled"
    PLAN_DELETED = "plan.deleted"
    PLAN_PURGED = "plan.purged"
    PROPOSAL_CREATED = "proposal.created"
    PROPOSAL_APPROVED_BY_POLICY = "proposal.approved_by_policy"
    PROPOSAL_UPDATED = "proposal.updated"
    PROPOSAL_SUBMITTED = "proposal.submitted"
    PROPOSAL_APPROVAL_GIVEN = "proposal.approval_given"
    PROPOSAL_APPROVAL_WITHDRAWN = "proposal.approval_withdrawn"
    PROPOSAL_APPROVED = "proposal.approved"
    PROPOSAL_BREAK_GLASS_REQUESTED = "proposal.break_glass_requested"
    PROPOSAL_APPROVED_BY_BREAK_GLASS = "proposal.approved_by_break_glass"
    PROPOSAL_NOTICE_ADDED = "proposal.notice_added"
    PROPOSAL_FACT_RECORDED = "proposal.fact_recorded"
    PROPOSAL_RECONSIDERED = "proposal.reconsidered"
    PROPOSAL_RETURNED_TO_REVIEW = "proposal.returned_to_review"
    PROPOSAL_REJECTED = "proposal.rejected"
    PROPOSAL_CANCEL_REQUESTED = "proposal.cancel_requested"
    PROPOSAL_CANCELLED = "proposal.cancelled"
    PROPOSAL_CLAIMED = "proposal.claimed"
    PROPOSAL_LEASE_RENEWED = "proposal.lease_renewed"
    PROPOSAL_EXECUTED = "proposal.executed"
    PROPOSAL_RETRIED = "proposal.retried"
    PROPOSAL_RETURNED = "proposal.returned"
    PROPOSAL_FAILED = "proposal.failed"
    PROPOSAL_UNRESOLVED = "proposal.unresolved"
    PROPOSAL_RESOLVED = "proposal.resolved"
    PROPOSAL_EXPIRED = "proposal.expired"
    PROPOSAL_DELETED = "proposal.deleted"
    PROPOSAL_PURGED = "proposal.purged"


class Event(NamedTuple):
    """One entry of the log. `plan_id` is for finding it; it is in the snapshot, so the hash need not cover it.
    `seal`: see domain.seals."""

    revision: int
    entity_type: EntityType
    entity_id: str
    version: int
    kind: str
    actor: str
    authenticated: bool
    via: str
    time: Instant
    request_id: str
    comment: str
    snapshot: bytes
    prev_hash: bytes
    hash: bytes
    plan_id: str = ""
    seal: bytes | None = None


class EventUnreadable(Exception):
    """A row of the log holds what no event can hold: somebody changed it."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"revision {revision} of the log cannot be read: its row was changed")
        self.revision = revision


@dataclass(frozen=True, slots=True)
class LogHead:
    """The last revision, its hash, and the seal that the head row has."""

    revision: int = 0
    hash: bytes = GENESIS_HASH
    seal: bytes | None = field(default=None, compare=False)


def hashed_bytes(event: Event) -> bytes:
    """The bytes whose SHA-256 is the event's hash: the tag, the numbers at fixed width, then each text and the
    snapshot after its length."""
    pack = _LENGTH.pack
    numbers = (event.revision, event.entity_type, event.version, event.time, event.authenticated)
    parts = [LAYOUT_TAG, _FIXED.pack(event.prev_hash, *numbers)]
    for text in (event.entity_id, event.kind, event.actor, event.via, event.request_id, event.comment):
        if text:
            encoded = text.encode()
            parts += (pack(len(encoded)), encoded)
        else:
            parts.append(_NOTHING)
    parts += (pack(len(event.snapshot)), event.snapshot)
    return b"".join(parts)


def event_hash(event: Event) -> bytes:
    """What the event's hash should be, computed from its other fields."""
    return hashlib.sha256(hashed_bytes(event)).digest()


def append(
    head: LogHead,
    *,
    entity_type: EntityType,
    entity_id: str,
    version: int,
    kind: EventKind,
    actor: Actor,
    time: Instant,
    request_id: str,
    comment: str,
    snapshot: bytes,
    plan_id: str,
) -> Event:
    """The event that follows `head`."""
    event = Event(
        revision=head.revision + 1,
        entity_type=entity_type,
        entity_id=entity_id,
        version=version,
        kind=kind.value,
        actor=actor.identity,
        authenticated=actor.authenticated,
        via=actor.via,
        time=time,
        request_id=request_id,
        comment=comment,
        snapshot=snapshot,
        prev_hash=head.hash,
        hash=b"",
        plan_id=plan_id,
    )
    return event._replace(hash=event_hash(event))
