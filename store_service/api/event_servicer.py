"""plangate.store.v1.EventService."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

from plangate.store.v1 import event_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.process.clock import Clock
from store_service.api.call import Context, Encoded, allowed, viewing
from store_service.database.reader import Reader
from store_service.domain.errors import InvalidField
from store_service.domain.events import Event
from store_service.domain.instant import instant_of
from store_service.domain.seals import LogKey
from store_service.event_log.checkpoints import CheckpointKey
from store_service.event_log.recent_events import RecentEvents
from store_service.event_log.verification import verify_log
from store_service.event_log.watching import Run, StallGuard, watch
from store_service.filters import parse
from store_service.messages.answers import (
    checkpoint_to_proto,
    event_run_update_to_bytes,
    event_to_bytes,
    event_update_to_bytes,
    finding_to_proto,
    page_to_bytes,
    progress_update_to_bytes,
)
from store_service.messages.log_entries import entry_of, subject_of
from store_service.messages.queries import event_view, listing_from_proto, max_events, progress_seconds
from store_service.queries import EVENT_FIELDS, WATCH_FIELDS, CheckpointKeyMissing, WatchTooSlow

WATCH_METHOD = "/plangate.store.v1.EventService/WatchEvents"


@dataclass(kw_only=True, eq=False)
class EventServicer(store_service_pb2_grpc.EventServiceServicer):
    """The log. A watch is ended with WATCH_TOO_SLOW when its client takes no message for stall_seconds, or falls behind
    by more than max_lag_events."""

    reader: Reader
    recent: RecentEvents
    clock: Clock
    checkpoint_key: CheckpointKey | None
    planner_identity: str
    log_key: LogKey | None
    stall_seconds: float
    max_lag_events: int

    async def ListEvents(self, request: rpc.ListEventsRequest, context: Context) -> Encoded:
        listing, view = listing_from_proto(request, EVENT_FIELDS, viewing(request, self.clock)), event_view(request)
        events, next_after = await self.reader.list_events(listing.query)
        return page_to_bytes((event_to_bytes(event, view) for event in events), listing.token(next_after))

    # grpc.aio takes a coroutine that writes as well as a generator; the stubs know generators only.
    async def WatchEvents(self, request: rpc.WatchEventsRequest, context: Context) -> None:  # type: ignore[override]
        viewer = viewing(request, self.clock)
        if request.start_revision < 0:
            raise InvalidField("start_revision", "must not be negative")
        updates = watch(
            self.recent,
            self.reader,
            start_revision=request.start_revision,
            where=parse(request.filter, WATCH_FIELDS),
            viewer=viewer,
            subject_of=subject_of,
            progress_seconds=progress_seconds(request),
            max_lag_events=self.max_lag_events,
        )
        resume_from, view, at_once = request.start_revision, event_view(request), max_events(request)
        with StallGuard(self.stall_seconds) as guard:
            try:
                async with aclosing(updates):
                    async for update in updates:
                        for revision, message in self._messages(update, view, at_once):
                            # Returns when the message has left, which it cannot while the client's window is full.
                            guard.begin()
                            await context.write(message)
                            guard.end()
                            resume_from = revision + 1
            except asyncio.CancelledError:
                if not guard.take_back():
                    raise
                raise WatchTooSlow(resume_from) from None

    def _messages(
        self, update: Run | int, view: event_pb2.EventView.ValueType, at_once: int
    ) -> Iterator[tuple[int, bytes]]:
        """What is to be sent, each with the revision up to which all was sent then."""
        if isinstance(update, int):
            yield update, progress_update_to_bytes(update)
            return
        encoded = self.recent.encoded

        def encode(event: Event) -> bytes:
            return event_update_to_bytes(event, view)

        for start in range(0, len(update), at_once):
            run = update[start : start + at_once]
            if len(run) == 1:
                message = encoded(run[0], view, encode)
            else:
                message = self.recent.encoded_run(
                    run,
                    view,
                    lambda run=run: event_run_update_to_bytes(encoded(each, view, encode) for each in run),  # type: ignore[misc]
                )
            yield run[-1].event.revision, message

    async def VerifyEvents(self, request: rpc.VerifyEventsRequest, context: Context) -> rpc.VerifyEventsResponse:
        viewer = viewing(request, self.clock)
        finding = await verify_log(
            self.reader,
            request.start_revision,
            request.end_revision,
            read_entry=entry_of,
            planner_identity=self.planner_identity,
            log_key=self.log_key,
        )
        answer = finding_to_proto(finding)
        if answer.problem and viewer.scope.reads is not None:
            # It may quote what the revision holds.
            answer.problem = "it was changed"
        return answer

    async def GetCheckpoint(self, request: rpc.GetCheckpointRequest, context: Context) -> event_pb2.Checkpoint:
        allowed(request)
        if self.checkpoint_key is None:
            raise CheckpointKeyMissing
        head = await self.reader.head()
        return checkpoint_to_proto(self.checkpoint_key.sign(head, instant_of(self.clock.now())))
