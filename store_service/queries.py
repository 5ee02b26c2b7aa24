"""What can be read: fields that filters and orders may name, what a page is, and how reading can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from plangate_core.contract.scopes import EVERYTHING, Scope
from store_service.domain.errors import InvalidField
from store_service.domain.events import EntityType
from store_service.domain.instant import Instant
from store_service.domain.plan import PlanState
from store_service.domain.proposal import ProposalState
from store_service.filters import Expression, Field, Kind
from store_service.page_tokens import Position

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
# gRPC clients take 4 MiB unless configured otherwise: a page ends early rather than fail.
MAX_PAGE_BYTES = 3 * 1024 * 1024


class RevisionOutOfRange(Exception):
    """A watch requested a revision that is further away than the next one."""

    def __init__(self, head_revision: int) -> None:
        super().__init__(f"the log ends at revision {head_revision}")
        self.head_revision = head_revision


class WatchTooSlow(Exception):
    """A watcher did not read as fast as the log grew. `revision` is where to resume."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the watch was not read fast enough; resume from revision {revision}")
        self.revision = revision


class ReadTimedOut(Exception):
    """A list or count would have to look at more rows than its time allowed."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(
            f"the read took longer than {timeout_seconds:g} s; filter by a field that has an index, or by more of them"
        )
        self.timeout_seconds = timeout_seconds


class CheckpointKeyMissing(Exception):
    """The store was given no key to sign with."""

    def __init__(self) -> None:
        super().__init__("the store has no key to sign checkpoints with: set PLANGATE_CHECKPOINT_KEY_FILE")


def _names(prefix: str, states: type[StrEnum]) -> dict[str, str | int]:
    short: dict[str, str | int] = {state.value: state.value for state in states}
    return {**short, **{f"{prefix}{name}": value for name, value in short.items()}}


WAITING_FOR_ME = "waiting_for_me"
"""Whether the caller may approve it now."""

PROPOSAL_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.TEXT),
    "plan_id": Field(Kind.TEXT),
    "job_id": Field(Kind.TEXT),
    "action_name": Field(Kind.TEXT),
    "state": Field(Kind.NAME, _names("PROPOSAL_STATE_", ProposalState)),
    "created_by": Field(Kind.TEXT),
    "updated_by": Field(Kind.TEXT),
    "priority": Field(Kind.INTEGER),
    "attempt": Field(Kind.INTEGER),
    "reviewer_role": Field(Kind.TEXT),
    "create_time": Field(Kind.TIME),
    "update_time": Field(Kind.TIME),
    "labels": Field(Kind.LABELS),
    "args": Field(Kind.ARGUMENTS),
    "text": Field(Kind.SEARCH),
    WAITING_FOR_ME: Field(Kind.NAME, {"true": 1, "false": 0}),
}
PLAN_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.TEXT),
    "state": Field(Kind.NAME, _names("PLAN_STATE_", PlanState)),
    "created_by": Field(Kind.TEXT),
    "create_time": Field(Kind.TIME),
    "update_time": Field(Kind.TIME),
    "priority": Field(Kind.INTEGER),
    "objective": Field(Kind.TEXT),
    "labels": Field(Kind.LABELS),
    "text": Field(Kind.SEARCH),
}
WATCH_FIELDS: Mapping[str, Field] = {
    "revision": Field(Kind.INTEGER),
    "entity_type": Field(
        Kind.NAME,
        {
            "PLAN": EntityType.PLAN.value,
            "PROPOSAL": EntityType.PROPOSAL.value,
            "ENTITY_TYPE_PLAN": EntityType.PLAN.value,
            "ENTITY_TYPE_PROPOSAL": EntityType.PROPOSAL.value,
        },
    ),
    "entity_id": Field(Kind.TEXT),
    "kind": Field(Kind.TEXT),
    "actor": Field(Kind.TEXT),
    "via": Field(Kind.TEXT),
    "time": Field(Kind.TIME),
    "request_id": Field(Kind.TEXT),
    "plan_id": Field(Kind.TEXT),
    "version": Field(Kind.INTEGER),
    "action_name": Field(Kind.EXACT),
    "args": Field(Kind.ARGUMENTS),
    "labels": Field(Kind.LABELS),
}
# A watch looks at each event alone, not at the request of its plan.
EVENT_FIELDS: Mapping[str, Field] = {**WATCH_FIELDS, "text": Field(Kind.SEARCH)}

RESOURCE_ORDERS = ("create_time", "update_time", "priority")


@dataclass(frozen=True)
class Order:
    """Sorted by `field`, then by id (resources); events have `revision` only."""

    field: str
    descending: bool


@dataclass(frozen=True)
class Viewer:
    """Who reads, when, and what of it they may. `may_approve`: whether their roles allow that at all."""

    identity: str = ""
    roles: frozenset[str] = frozenset()
    may_approve: bool = False
    now: Instant = 0
    scope: Scope = EVERYTHING


NO_VIEWER = Viewer()
"""For what the store reads for itself."""


@dataclass(frozen=True)
class PageQuery:
    """One page. `after` is where the page before ended: (value of the order's field, id), or (revision,)."""

    where: Expression | None
    order: Order
    size: int
    after: Position | None
    show_deleted: bool = False
    viewer: Viewer = NO_VIEWER


@dataclass(frozen=True)
class Page:
    """Encoded resources, and where the next page begins; None on the last one."""

    resources: list[bytes]
    next_after: Position | None


def resource_order(order_by: str) -> Order:
    """Read order_by of plans and proposals. Raises InvalidField."""
    field, _, direction = order_by.strip().partition(" ")
    if not field:
        return Order("create_time", descending=True)
    if field not in RESOURCE_ORDERS or direction.strip() not in ("", "asc", "desc"):
        raise InvalidField("order_by", f'must be one of {", ".join(RESOURCE_ORDERS)}, with " desc" or without')
    return Order(field, descending=direction.strip() == "desc")


def event_order(order_by: str) -> Order:
    """Read order_by of events. Raises InvalidField."""
    words = order_by.split()
    if words not in ([], ["revision"], ["revision", "asc"], ["revision", "desc"]):
        raise InvalidField("order_by", 'must be "revision" or "revision desc"')
    return Order("revision", descending=words[-1:] == ["desc"])


def page_size(requested: int) -> int:
    """0 means the default; more than the most there is means the most. Raises InvalidField."""
    if requested < 0:
        raise InvalidField("page_size", "must not be negative")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
