"""What waits for the person who is signed in, all proposals by state, and the log with search."""

from __future__ import annotations

import asyncio

from plangate.store.v1 import event_pb2, proposal_pb2, store_service_pb2
from starlette.requests import Request
from starlette.responses import Response

from plangate_client.errors import InvalidRequest, PlangateError
from plangate_client.outlook.dependencies import next_step
from plangate_core.contract.enum_names import enum_name
from plangate_inbox.pages.reading import quoted
from plangate_inbox.views.history import KINDS_IN_WORDS, in_words
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.rendering import Editable, render
from plangate_inbox.web.sessions import Session

_PAGE_SIZE = 50
_STATES = [
    value.name.removeprefix("PROPOSAL_STATE_")
    for value in proposal_pb2.ProposalState.DESCRIPTOR.values
    if value.number != proposal_pb2.PROPOSAL_STATE_UNSPECIFIED
]


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


async def show_proposals(request: Request) -> Response:
    """Everything in the store, the newest first."""
    session: Session = request.state.session
    query = request.query_params
    state, search = query.get("state", "").upper(), query.get("filter", "").strip()
    terms = [search] if search else []
    if state in _STATES:
        terms.append(f"state = {state}")
    error, status, found, token = "", 200, [], ""
    counts: dict[proposal_pb2.ProposalState.ValueType, int] = {}
    try:
        page, counts = await asyncio.gather(
            session.store.proposals.list_page(
                filter=" AND ".join(terms), page_size=_PAGE_SIZE, page_token=query.get("page", "")
            ),
            _counts(session, search),
        )
        found, token = [*page.proposals], page.next_page_token
    except InvalidRequest as refused:
        error, status = sentence(refused), status_of(refused)
    context = {
        "proposals": [(proposal, enum_name(proposal, "state"), next_step(proposal)) for proposal in found],
        "states": [
            (name, counts.get(proposal_pb2.ProposalState.Value(f"PROPOSAL_STATE_{name}"), 0)) for name in _STATES
        ],
        "chosen": state,
        "search": Editable(search),
        "next_page_token": token,
        "error": error,
    }
    return render(request, "proposals.html", context, status=status)


async def _counts(session: Session, search: str) -> dict[proposal_pb2.ProposalState.ValueType, int]:
    try:
        return await session.store.proposals.count(filter=search)
    except InvalidRequest:
        raise
    except PlangateError:
        # Too many to be counted in time: the list is of use without.
        return {}


async def show_log(request: Request) -> Response:
    """The log, the newest first."""
    session: Session = request.state.session
    query = request.query_params
    actor, kind, about, search = (query.get(name, "").strip() for name in ("actor", "kind", "about", "filter"))
    terms = [search] if search else []
    if actor:
        terms.append(f"actor = {quoted(actor)}")
    if kind:
        terms.append(f"kind = {quoted(kind)}")
    else:
        terms.append('kind != "proposal.lease_renewed" AND kind != "plan.lease_renewed"')
    if about:
        terms.append(f"(entity_id = {quoted(about)} OR plan_id = {quoted(about)})")
    error, status, found, token = "", 200, [], ""
    try:
        page = await session.store.events.list_page(
            filter=" AND ".join(terms),
            order_by="revision desc",
            page_size=_PAGE_SIZE,
            page_token=query.get("page", ""),
            view=event_pb2.EVENT_VIEW_RESOURCE,
        )
        found, token = [*page.events], page.next_page_token
    except InvalidRequest as refused:
        error, status = sentence(refused), status_of(refused)
    context = {
        "events": [(event, in_words(event)) for event in found],
        "kinds": KINDS_IN_WORDS,
        "actor": Editable(actor),
        "kind": kind,
        "about": Editable(about),
        "search": Editable(search),
        "next_page_token": token,
        "error": error,
    }
    return render(request, "log.html", context, status=status)
