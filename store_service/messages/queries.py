"""Requests of listing RPCs as queries, and where a page ended as a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plangate.store.v1 import event_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from store_service import page_tokens
from store_service.domain.errors import InvalidField
from store_service.domain.instant import SECOND
from store_service.filters import Field, parse
from store_service.messages.decoding import duration_from_proto
from store_service.page_tokens import Position
from store_service.queries import (
    MAX_PAGE_SIZE,
    PageQuery,
    Viewer,
    event_order,
    page_size,
    resource_order,
)

_PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Listing:
    """A query, and what the tokens of its pages are bound to."""

    query: PageQuery
    bound_to: tuple[object, ...]

    def token(self, position: Position | None) -> str:
        """The token of the page that begins after this position; "" when there is none."""
        return page_tokens.encode(position, self.bound_to) if position else ""


def listing_from_proto(
    request: rpc.ListPlansRequest | rpc.ListProposalsRequest | rpc.ListEventsRequest,
    fields: Mapping[str, Field],
    viewer: Viewer,
) -> Listing:
    """Raises InvalidField, InvalidFilter, InvalidPageToken."""
    bound_to: tuple[object, ...]
    shape: tuple[type, ...]
    if isinstance(request, rpc.ListEventsRequest):
        order, show_deleted, shape = event_order(request.order_by), False, (int,)
        bound_to = (type(request).__name__, request.filter, order)
    else:
        order, show_deleted, shape = resource_order(request.order_by), request.show_deleted, (int, str)
        bound_to = (type(request).__name__, request.filter, order, show_deleted)
    query = PageQuery(
        where=parse(request.filter, fields),
        order=order,
        size=page_size(request.page_size),
        after=page_tokens.decode(request.page_token, bound_to, shape) if request.page_token else None,
        show_deleted=show_deleted,
        viewer=viewer,
    )
    return Listing(query, bound_to)


def progress_seconds(request: rpc.WatchEventsRequest) -> float:
    """How often a watch says how far it has come. Raises InvalidField."""
    if not request.HasField("progress_interval"):
        return _PROGRESS_SECONDS
    interval = duration_from_proto(request.progress_interval, "progress_interval")
    if not SECOND // 10 <= interval <= 600 * SECOND:
        raise InvalidField("progress_interval", "must be from 100 ms to 10 min")
    return interval / SECOND


def event_view(request: rpc.ListEventsRequest | rpc.WatchEventsRequest) -> event_pb2.EventView.ValueType:
    """How much of each event. Raises InvalidField for a number that is no view: events are kept encoded, once for each
    view that is watched."""
    if request.view not in event_pb2.EventView.values():
        raise InvalidField("view", "is not a view of this version")
    return request.view or event_pb2.EVENT_VIEW_FULL


def max_events(request: rpc.WatchEventsRequest) -> int:
    """How many events may come as one message. Raises InvalidField."""
    if request.max_events < 0:
        raise InvalidField("max_events", "must not be negative")
    return min(request.max_events or 1, MAX_PAGE_SIZE)
