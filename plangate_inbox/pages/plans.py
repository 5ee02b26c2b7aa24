"""A plan as a graph with live states, one's own requests, and new ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.store.v1 import proposal_pb2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from plangate_client.calls import new_request_id
from plangate_client.errors import NotFound, PlangateError, Unavailable
from plangate_client.outlook.dependencies import FINAL_STATES
from plangate_core.contract.enum_names import enum_name
from plangate_core.contract.struct_codec import StructRefused, json_to_struct
from plangate_inbox.pages.reading import id_of, quoted, read_plan
from plangate_inbox.views.plan_graph import NODE_HEIGHT, NODE_WIDTH, graph
from plangate_inbox.views.steps import Step, steps
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.rendering import Editable, render
from plangate_inbox.web.sessions import Session

_PAGE_SIZE = 20
_MAX_PROPOSALS = 1000


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """One of a person's requests. `states` counts its steps by state."""

    plan: plan_pb2.Plan
    state: str
    steps: list[Step]
    states: list[tuple[str, int]]


async def show_plan(request: Request, *, error: str = "", status: int = 200) -> Response:
    """The plan, its graph, its steps; and why it could not be cancelled."""
    session: Session = request.state.session
    plan, proposals = await read_plan(session, id_of(request))
    if plan is None:
        raise HTTPException(404)
    found = steps(plan, proposals)
    reviewer = session.reviewer
    open_ = plan.state in (plan_pb2.PLAN_STATE_QUEUED, plan_pb2.PLAN_STATE_PLANNING) or any(
        proposal.state not in FINAL_STATES for proposal in proposals
    )
    context = {
        "plan": plan,
        "state": enum_name(plan, "state"),
        "steps": found,
        "graph": graph(found),
        "node_width": NODE_WIDTH,
        "node_height": NODE_HEIGHT,
        "may_cancel": open_
        and plan.state != plan_pb2.PLAN_STATE_CANCELLED
        and (reviewer.reviews or reviewer.identity == plan.created_by),
        "request_id": new_request_id(),
        "error": error,
    }
    return render(request, "plan.html", context, status=status)


async def cancel_plan(request: Request) -> Response:
    """Cancel the plan with all its proposals that are not final."""
    session: Session = request.state.session
    form = await read_form(request, session)
    plan_id = id_of(request)
    try:
        await session.store.plans.cancel(
            plan_id, reason=form.get("reason", "").strip(), request_id=form.get("request_id") or None
        )
    except (NotFound, Unavailable):
        raise
    except PlangateError as error:
        return await show_plan(request, error=sentence(error), status=status_of(error))
    return RedirectResponse(f"/plans/{plan_id}", status_code=303)


async def show_requests(request: Request) -> Response:
    """What became of one's own requests, the newest first."""
    session: Session = request.state.session
    page = await session.store.plans.list_page(
        filter=f"created_by = {quoted(session.reviewer.identity)}",
        order_by="create_time desc",
        page_size=_PAGE_SIZE,
        page_token=request.query_params.get("page", ""),
    )
    proposals = await _proposals_of(session, [plan.id for plan in page.plans])
    context = {
        "requests": [_request(plan, [each for each in proposals if each.plan_id == plan.id]) for plan in page.plans],
        "next_page_token": page.next_page_token,
    }
    return render(request, "requests.html", context)


async def _proposals_of(session: Session, plan_ids: list[str]) -> list[proposal_pb2.Proposal]:
    if not plan_ids:
        return []
    wanted = " OR ".join(f'plan_id = "{plan_id}"' for plan_id in plan_ids)
    found: list[proposal_pb2.Proposal] = []
    async for proposal in session.store.proposals.list_all(filter=wanted, page_size=_MAX_PROPOSALS):
        found.append(proposal)
    return found


def _request(plan: plan_pb2.Plan, proposals: list[proposal_pb2.Proposal]) -> OwnRequest:
    found = steps(plan, proposals)
    counted = Counter(step.state for step in found)
    return OwnRequest(plan, enum_name(plan, "state"), found, [*counted.items()])


async def show_new_request(request: Request) -> Response:
    """The form for a request in plain words."""
    return _new_request_page(request, {})


async def make_request(request: Request) -> Response:
    """Hand the request to the planner's queue; its plan's page then shows how it gets on."""
    session: Session = request.state.session
    form = await read_form(request, session)
    prompt = form.get("prompt", "").replace("\r\n", "\n").strip()
    if not prompt:
        return _new_request_page(request, form, error="Say what is wanted.", status=422)
    try:
        labels = _pairs(form.get("labels", ""), "=")
        context = _pairs(form.get("context", ""), ":")
        wanted = planner_pb2.CreatePlanRequest(
            prompt=prompt,
            labels=labels,
            context=json_to_struct(dict(context), "context") if context else None,
            request_id=form.get("request_id") or new_request_id(),
        )
        plan = await session.planner.enqueue_plan(wanted)
    except (ValueError, StructRefused) as error:
        return _new_request_page(request, form, error=str(error), status=422)
    except PlangateError as error:
        return _new_request_page(request, form, error=sentence(error), status=status_of(error))
    return RedirectResponse(f"/plans/{plan.id}", status_code=303)


def _new_request_page(request: Request, form: dict[str, str], *, error: str = "", status: int = 200) -> Response:
    context = {
        "prompt": Editable(form.get("prompt", "")),
        "labels": Editable(form.get("labels", "")),
        "context": Editable(form.get("context", "")),
        "request_id": new_request_id(),
        "error": error,
    }
    return render(request, "new_request.html", context, status=status)


def _pairs(text: str, separator: str) -> dict[str, str]:
    """One pair a line. Raises ValueError."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip():
            name, middle, value = line.partition(separator)
            if not middle or not name.strip():
                raise ValueError(f"{line.strip()!r} is not written as name{separator} value.")
            found[name.strip()] = value.strip()
    return found
