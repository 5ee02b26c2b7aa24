"""All receivers of a notify file, each in a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from plangate_client.client import StoreClient
from plangate_inbox.notifications.channels import channel_of
from plangate_inbox.notifications.delivery import Delivery, Rules, end
from plangate_inbox.notifications.metrics import NotificationMetrics
from plangate_inbox.notifications.notify_file import NotifyForm
from plangate_inbox.notifications.position import NotificationsRefused, Position, locked


@contextlib.asynccontextmanager
async def notifying(
    form: NotifyForm, directory: Path, store: StoreClient, url: str, metrics: NotificationMetrics | None = None
) -> AsyncIterator[None]:
    """Deliver until the end of the block.

    :param directory: holds the receivers' positions; one process at a time.
    :param url: the review page's, for links; empty: without links.

    Raises NotificationsRefused.
    """
    metrics = metrics or NotificationMetrics(CollectorRegistry())
    rules = Rules(url.rstrip("/"), timedelta(seconds=form.before_expiry_seconds), form.give_up_seconds)
    with locked(directory):
        async with aiohttp.ClientSession() as http:
            deliveries = []
            for receiver in form.receivers:
                try:
                    channel = channel_of(receiver, form, http)
                    position = Position(directory / f"{receiver.name}.json")
                except (OSError, ValueError, KeyError) as error:
                    raise NotificationsRefused(f"the receiver {receiver.name}: {error}") from error
                metrics.add(receiver.name)
                deliveries.append(Delivery(receiver, channel, position, store, rules, metrics))
            tasks = [asyncio.create_task(delivery.run()) for delivery in deliveries]
            try:
                yield
            finally:
                await end(tasks)
