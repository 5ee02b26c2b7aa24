"""One receiver's task: follows the log from its own position and delivers in the log's order, at least once.

A notification that is not taken is tried again with growing pauses until it is, or until `give_up_after`; the position
stays where it is meanwhile, so a restart begins with the same one. What cannot be delivered at all is logged and passed
over.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from jinja2 import TemplateError
from plangate.store.v1 import event_pb2, proposal_pb2
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay, wait_random_exponential

from plangate_client.client import StoreClient
from plangate_client.errors import NotFound, PlangateError
from plangate_inbox.notifications.channels import Channel, PermanentFailure, TemporaryFailure
from plangate_inbox.notifications.metrics import NotificationMetrics
from plangate_inbox.notifications.notification import (
    WATCHED_KINDS,
    Notification,
    before_expiry,
    concerns,
    from_event,
    worded,
)
from plangate_inbox.notifications.notify_file import ReceiverForm
from plangate_inbox.notifications.position import Position

_log = structlog.get_logger("notifications")
_FILTER = " OR ".join(f'kind = "{kind}"' for kind in WATCHED_KINDS)
_PROGRESS_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 300.0
_RECONNECT_SECONDS = 2.0
_CANCEL_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rules:
    """What all receivers share. `url` is the review page's, empty when links cannot be made."""

    url: str
    before_expiry: timedelta
    give_up_seconds: float
    first_pause_seconds: float = 1.0


@dataclass(slots=True)
class Delivery:
    """One receiver."""

    receiver: ReceiverForm
    channel: Channel
    position: Position
    store: StoreClient
    rules: Rules
    metrics: NotificationMetrics
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Replaceable in tests."""
    _expiring: list[tuple[datetime, str]] = field(default_factory=list)
    """A heap: when to remind, and of which proposal."""
    _reminders: set[str] = field(default_factory=set)
    """The proposals in the heap."""
    _expiry_known: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Deliver until cancelled. A fault of ours is logged, and delivery begins again where it was."""
        while True:
            try:
                await self._run()
            except Exception:
                _log.exception("delivery failed and begins again", receiver=self.receiver.name)
            await self.sleep(_RECONNECT_SECONDS)

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._follow())]
        if "expiring" in self.receiver.events:
            tasks.append(asyncio.create_task(self._remind()))
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(tasks)

    async def _follow(self) -> None:
        while True:
            try:
                if self.position.revision is None:
                    # A new receiver hears of what is to come, not of the past.
                    await self._advance(await self._head(), durably=True)
                await self._list_expiring()
                await self._watch()
            except PlangateError as error:
                _log.warning("the log cannot be followed now", receiver=self.receiver.name, fault=error.message)
            await self.sleep(_RECONNECT_SECONDS)

    async def _head(self) -> int:
        page = await self.store.events.list_page(order_by="revision desc", page_size=1, view=event_pb2.EVENT_VIEW_BASIC)
        return page.events[0].revision if page.events else 0

    async def _watch(self) -> None:
        assert self.position.revision is not None
        updates = self.store.events.watch(
            start_revision=self.position.revision + 1,
            filter=_FILTER,
            view=event_pb2.EVENT_VIEW_RESOURCE,
            progress_interval_seconds=_PROGRESS_SECONDS,
        )
        async with aclosing(updates):  # type: ignore[type-var]
            async for update in updates:
                if update.HasField("event"):
                    delivered = await self._handle(update.event)
                    await self._advance(update.event.revision, durably=delivered)
                else:
                    await self._advance(update.progress.revision, durably=True)

    async def _advance(self, revision: int, *, durably: bool) -> None:
        # In a thread: it waits for the disk.
        await asyncio.to_thread(self.position.advance, revision, durably=durably)

    async def _handle(self, event: event_pb2.Event) -> bool:
        """Whether there was something to deliver."""
        if event.HasField("proposal"):
            self._note_expiry(event.proposal)
        notification = from_event(event, self.receiver.name, self.rules.url)
        if notification is None or not concerns(notification, self.receiver):
            return False
        await self._deliver(notification)
        return True

    async def _deliver(self, notification: Notification) -> None:
        with self.metrics.delivering(self.receiver.name):
            outcome = await self._try(notification)
        self.metrics.ended(self.receiver.name, outcome)

    async def _try(self, notification: Notification) -> str:
        """How it ended, for the metrics."""
        log = _log.bind(receiver=self.receiver.name, notification=notification.id, kind=notification.event)
        try:
            subject, text = worded(notification, self.receiver)
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(TemporaryFailure),
                wait=wait_random_exponential(multiplier=self.rules.first_pause_seconds, max=_LONGEST_PAUSE_SECONDS),
                stop=stop_after_delay(self.rules.give_up_seconds),
                sleep=self.sleep,
            ):
                with attempt:
                    try:
                        await self.channel(notification, subject, text)
                    except TemporaryFailure as error:
                        log.warning(
                            "not delivered, tried again", fault=str(error), attempt=attempt.retry_state.attempt_number
                        )
                        raise
        except RetryError:
            log.error("given up: it was not delivered in time")
            return "given_up"
        except (PermanentFailure, TemplateError) as error:
            log.error("not delivered, and not tried again", fault=str(error))
            return "refused"
        log.info("delivered")
        return "delivered"

    async def _list_expiring(self) -> None:
        if "expiring" not in self.receiver.events:
            return
        async for proposal in self.store.proposals.list_all(filter="state = PENDING", page_size=1000):
            self._note_expiry(proposal)

    def _note_expiry(self, proposal: proposal_pb2.Proposal) -> None:
        if proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING and proposal.HasField("expire_time"):
            when = proposal.expire_time.ToDatetime(tzinfo=UTC) - self.rules.before_expiry
            if proposal.id not in self._reminders:
                self._reminders.add(proposal.id)
                heapq.heappush(self._expiring, (when, proposal.id))
                self._expiry_known.set()

    async def _remind(self) -> None:
        while True:
            self._expiry_known.clear()
            now = datetime.now(UTC)
            if self._expiring and self._expiring[0][0] <= now:
                # Taken out first: what is added meanwhile may come before it.
                when, proposal_id = heapq.heappop(self._expiring)
                self._reminders.discard(proposal_id)
                try:
                    await self._remind_of(proposal_id)
                except PlangateError as error:
                    _log.warning("a reminder waits", receiver=self.receiver.name, fault=error.message)
                    self._reminders.add(proposal_id)
                    heapq.heappush(self._expiring, (when, proposal_id))
                    await self.sleep(_RECONNECT_SECONDS)
                continue
            pause = (self._expiring[0][0] - now).total_seconds() if self._expiring else None
            try:
                async with asyncio.timeout(pause):
                    await self._expiry_known.wait()
            except TimeoutError:
                pass

    async def _remind_of(self, proposal_id: str) -> None:
        try:
            proposal = await self.store.proposals.get(proposal_id)
        except NotFound:
            return
        now = datetime.now(UTC)
        expires = proposal.expire_time.ToDatetime(tzinfo=UTC)
        if proposal.state != proposal_pb2.PROPOSAL_STATE_PENDING or expires <= now:
            return
        if expires - self.rules.before_expiry > now:
            # A revision gave it more time.
            self._note_expiry(proposal)
            return
        notification = before_expiry(proposal, self.receiver.name, self.rules.url)
        if notification.id in self.position.reminded or not concerns(notification, self.receiver):
            return
        await self._deliver(notification)
        await asyncio.to_thread(self.position.remind, notification.id, expires.isoformat(), now.isoformat())


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    asyncio.wait_for of Python 3.11, which libraries use, may swallow a cancellation that comes together with what it
    waited for (python/cpython#86296).
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
