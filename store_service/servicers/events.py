"""plangate.store.v1.EventService."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from plangate.store.v1 import event_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from store_service.checkpoints import CheckpointKey
from store_service.clock import Clock
from store_service.domain.errors import InvalidField
from store_service.domain.instant import instant_of
from store_service.filters import parse
from store_service.persistence.reader import Reader
from store_service.proto_mapping.answers import (
    checkpoint_to_proto,
    event_page_to_bytes,
    event_update_to_bytes,
    finding_to_proto,
    progress_update_to_bytes,
)
from store_service.proto_mapping.queries import event_listing, progress_seconds
from store_service.queries import EVENT_FIELDS, CheckpointKeyMissing, WatchTooSlow
from store_service.recent_events import RecentEvent, RecentEvents
from store_service.servicers.call import Context, Encoded, allowed
from store_service.verification import verify_log
from store_service.watching import watch

WATCH_METHOD = "/plangate.store.v1.EventService/WatchEvents"


class EventServicer(store_service_pb2_grpc.EventServiceServicer):
    """The log."""

    def __init__(
        self,
        reader: Reader,
        recent: RecentEvents,
        *,
        clock: Clock,
        checkpoint_key: CheckpointKey | None,
        stall_seconds: float,
        max_lag_events: int,
    ) -> None:
        """A watch is ended with WATCH_TOO_SLOW when its client takes no message for stall_seconds, or falls behind by
        more than max_lag_events."""
        self._reader = reader
        self._recent = recent
        self._clock = clock
        self._checkpoint_key = checkpoint_key
        self._stall_seconds = stall_seconds
        self._max_lag_events = max_lag_events

    async def ListEvents(self, request: rpc.ListEventsRequest, context: Context) -> Encoded:
        allowed("ListEvents")
        listing = event_listing(request)
        events, next_after = await self._reader.list_events(listing.query)
        return event_page_to_bytes(events, request.view, listing.token(next_after))

    # grpc.aio takes a coroutine that writes as well as a generator; the stubs know generators only.
    async def WatchEvents(self, request: rpc.WatchEventsRequest, context: Context) -> None:  # type: ignore[override]
        allowed("WatchEvents")
        if request.start_revision < 0:
            raise InvalidField("start_revision", "must not be negative")
        updates = watch(
            self._recent,
            self._reader,
            start_revision=request.start_revision,
            where=parse(request.filter, EVENT_FIELDS),
            progress_seconds=progress_seconds(request),
            max_lag_events=self._max_lag_events,
        )
        resume_from = request.start_revision
        async with aclosing(updates):
            async for update in updates:
                try:
                    # Returns when the message has left, which it cannot while the client's window is full.
                    async with asyncio.timeout(self._stall_seconds):
                        await context.write(_encoded(update, request.view))
                except TimeoutError:
                    raise WatchTooSlow(resume_from) from None
                resume_from = (update if isinstance(update, int) else update.event.revision) + 1

    async def VerifyEvents(self, request: rpc.VerifyEventsRequest, context: Context) -> rpc.VerifyEventsResponse:
        allowed("VerifyEvents")
        return finding_to_proto(await verify_log(self._reader, request.start_revision, request.end_revision))

    async def GetCheckpoint(self, request: rpc.GetCheckpointRequest, context: Context) -> event_pb2.Checkpoint:
        allowed("GetCheckpoint")
        if self._checkpoint_key is None:
            raise CheckpointKeyMissing
        head = await self._reader.head()
        return checkpoint_to_proto(self._checkpoint_key.sign(head, instant_of(self._clock.now())))


def _encoded(update: RecentEvent | int, view: event_pb2.EventView.ValueType) -> bytes:
    if isinstance(update, int):
        return progress_update_to_bytes(update)
    encoded = update.encoded.get(view)
    if encoded is None:
        encoded = update.encoded[view] = event_update_to_bytes(update.event, view)
    return encoded
