"""The store's EventService: the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypedDict, Unpack

import grpc
from plangate.store.v1 import event_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2
from plangate.store.v1.store_service_pb2_grpc import EventServiceStub

from plangate_client.calls import Calls, duration

# On a busy log most of the cost of an event is that of its message.
_EVENTS_A_MESSAGE = 100


class EventOptions(TypedDict, total=False):
    """What lists of events take."""

    filter: str
    order_by: str
    page_size: int
    view: event_pb2.EventView.ValueType


class Events:
    """Every method raises PlangateError's types."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = EventServiceStub(channel)
        self._calls = calls

    async def list_page(
        self, *, page_token: str = "", timeout_seconds: float | None = None, **options: Unpack[EventOptions]
    ) -> store_pb2.ListEventsResponse:
        """Return one page in revision order."""
        request = store_pb2.ListEventsRequest(page_token=page_token, **options)
        return await self._calls.unary(self._stub.ListEvents, request, timeout_seconds=timeout_seconds)

    def list_all(self, **options: Unpack[EventOptions]) -> AsyncIterator[event_pb2.Event]:
        """All that match."""
        request = store_pb2.ListEventsRequest(**options)
        return self._calls.pages(self._stub.ListEvents, request, lambda page: page.events)

    def watch(
        self,
        *,
        start_revision: int = 0,
        filter: str = "",
        view: event_pb2.EventView.ValueType = event_pb2.EVENT_VIEW_UNSPECIFIED,
        progress_interval_seconds: float | None = None,
    ) -> AsyncIterator[store_pb2.WatchEventsResponse]:
        """Yield events and progress marks without end, one connection long; each update holds one of them.

        Resume with the last revision seen plus one: UNAVAILABLE and WatchTooSlow are raised, not mended here.
        """
        request = store_pb2.WatchEventsRequest(
            start_revision=start_revision,
            filter=filter,
            view=view,
            progress_interval=duration(progress_interval_seconds),
            max_events=_EVENTS_A_MESSAGE,
        )
        return _one_by_one(self._calls.stream(self._stub.WatchEvents, request))

    async def verify(
        self, *, start_revision: int = 0, end_revision: int = 0, timeout_seconds: float = 600.0
    ) -> store_pb2.VerifyEventsResponse:
        """Let the store walk its hash chain."""
        request = store_pb2.VerifyEventsRequest(start_revision=start_revision, end_revision=end_revision)
        return await self._calls.unary(self._stub.VerifyEvents, request, timeout_seconds=timeout_seconds)

    async def checkpoint(self) -> event_pb2.Checkpoint:
        """A signed statement of the log's head."""
        return await self._calls.unary(self._stub.GetCheckpoint, store_pb2.GetCheckpointRequest())


async def _one_by_one(
    updates: AsyncGenerator[store_pb2.WatchEventsResponse, None],
) -> AsyncGenerator[store_pb2.WatchEventsResponse, None]:
    async with aclosing(updates):
        async for update in updates:
            if update.HasField("events"):
                for event in update.events.events:
                    yield store_pb2.WatchEventsResponse(event=event)
            else:
                yield update
