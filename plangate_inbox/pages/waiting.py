"""What waits for the person who is signed in."""

from __future__ import annotations

from plangate.store.v1 import store_service_pb2
from starlette.requests import Request
from starlette.responses import Response

from plangate_inbox.web.rendering import render
from plangate_inbox.web.sessions import Session

_PAGE_SIZE = 50


async def show_waiting(request: Request) -> Response:
    """The list, the oldest first."""
    session: Session = request.state.session
    waiting = await read_waiting(session, request.query_params.get("page", ""))
    # Counting what fills more than a page would take longer than reading the page.
    whole = not waiting.next_page_token and "page" not in request.query_params
    total = len(waiting.proposals) if whole else None
    context = {"waiting": waiting.proposals, "next_page_token": waiting.next_page_token, "total": total}
    return render(request, "waiting.html", context)


async def read_waiting(
    session: Session, page_token: str = "", page_size: int = _PAGE_SIZE
) -> store_service_pb2.ListProposalsResponse:
    """What this person can approve now, the oldest first."""
    return await session.store.proposals.list_page(
        filter="waiting_for_me = true", order_by="create_time", page_size=page_size, page_token=page_token
    )
