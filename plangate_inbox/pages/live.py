"""Tells open pages that something they show has changed (server-sent events, fed by WatchEvents).

A page then loads itself again and changes what differs. Each page watches with the credentials of its reader, so it
hears of nothing that the reader could not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from plangate.store.v1 import event_pb2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from plangate_client.errors import PlangateError
from plangate_core.process.tasks import cancel_and_wait
from plangate_inbox.web.sessions import Session

# Updates of one page are at least so far apart: on a busy log each stands for several events.
_LEAST_GAP_SECONDS = 0.2
_HEARTBEAT_SECONDS = 15.0
_UPDATE = b"event: update\ndata: \n\n"
_HEARTBEAT = b": still here\n\n"
_NO_RENEWALS = 'kind != "proposal.lease_renewed" AND kind != "plan.lease_renewed"'


async def stream_changes(request: Request) -> Response:
    """An endless stream of `update` events, one at its beginning."""
    session: Session = request.state.session
    stream = _updates(session, _filter(request), request.app.state.stopping)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _filter(request: Request) -> str:
    query = request.query_params
    match query.get("about"):
        case "plan":
            return f'plan_id = "{_id(query.get("plan", ""))}" AND {_NO_RENEWALS}'
        case "proposal":
            return f'entity_id = "{_id(query.get("proposal", ""))}" AND {_NO_RENEWALS}'
        case "waiting":
            return f"entity_type = PROPOSAL AND {_NO_RENEWALS}"
        case "everything":
            return _NO_RENEWALS
        case _:
            raise HTTPException(400, "There is nothing of this name to watch.")


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise HTTPException(400, "This is no id.") from None


async def _updates(session: Session, filter: str, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    changed = asyncio.Event()
    # What changed between the page and the watch is not missed: the page loads itself once the watch has begun.
    changed.set()
    watching = asyncio.create_task(_watch(session, filter, changed))
    ending = asyncio.create_task(stopping.wait())
    try:
        while not (watching.done() or ending.done()):
            waiting = asyncio.create_task(changed.wait())
            try:
                await asyncio.wait(
                    {waiting, watching, ending},
                    timeout=_HEARTBEAT_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                waiting.cancel()
            if changed.is_set():
                changed.clear()
                yield _UPDATE
                await asyncio.wait({watching, ending}, timeout=_LEAST_GAP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            else:
                yield _HEARTBEAT
    finally:
        await cancel_and_wait(watching, ending)


async def _watch(session: Session, filter: str, changed: asyncio.Event) -> None:
    """Ends when the watch does: the page then connects again by itself."""
    with contextlib.suppress(PlangateError):
        async for update in session.store.events.watch(filter=filter, view=event_pb2.EVENT_VIEW_BASIC):
            if update.HasField("event"):
                changed.set()
