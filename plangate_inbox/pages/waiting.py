"""What waits for the person who is signed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from plangate.store.v1 import proposal_pb2
from starlette.requests import Request
from starlette.responses import Response

from plangate_client.outlook.waiting import waiting_filter, why_not_mine
from plangate_inbox.web.sessions import Session

_PAGE_SIZE = 50
# What the filter cannot leave out is left out here: so many pages at most are read for one page to be full.
_MAX_PAGES = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """One page of proposals, the oldest first, and the token of the next."""

    proposals: list[proposal_pb2.Proposal]
    next_page_token: str


async def show_waiting(request: Request) -> Response:
    """The list, the oldest first."""
    session: Session = request.state.session
    waiting = await read_waiting(session, request.query_params.get("page", ""))
    # Counting what fills more than a page would take longer than reading the page.
    whole = not waiting.next_page_token and "page" not in request.query_params
    total = len(waiting.proposals) if whole else None
    context = {"waiting": waiting.proposals, "next_page_token": waiting.next_page_token, "total": total}
    return request.app.state.templates.page(request, "waiting.html", context)  # type: ignore[no-any-return]


async def read_waiting(session: Session, page_token: str = "", page_size: int = _PAGE_SIZE) -> Waiting:
    """What this person can approve now."""
    found: list[proposal_pb2.Proposal] = []
    now = datetime.now(UTC)
    for _ in range(_MAX_PAGES):
        page = await session.store.proposals.list_page(
            filter=waiting_filter(session.reviewer),
            order_by="create_time",
            page_size=page_size,
            page_token=page_token,
        )
        found += [proposal for proposal in page.proposals if not why_not_mine(proposal, session.reviewer, now)]
        page_token = page.next_page_token
        if not page_token or len(found) >= page_size:
            break
    return Waiting(found, page_token)
