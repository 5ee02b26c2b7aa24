"""What pages read from the servers, several calls at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from starlette.requests import Request

from plangate_client.errors import NotFound, PlangateError
from plangate_inbox.views.steps import in_order
from plangate_inbox.web.sessions import Session

# A plan has at most 100 jobs; a proposal is edited and approved less often than that.
_MAX_SIBLINGS = 100
_MAX_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Review:
    """A proposal with everything that a decision about it looks at."""

    proposal: proposal_pb2.Proposal
    plan: plan_pb2.Plan | None
    siblings: list[proposal_pb2.Proposal]
    """All proposals of its plan, itself among them, in the plan's order."""
    action: action_pb2.Action | None
    """None when the catalogue does not have it any more, or the planner cannot be reached."""
    events: list[event_pb2.Event]
    """Oldest first, without renewals of leases, in the RESOURCE view."""

    @property
    def schema(self) -> dict[str, object] | None:
        """The JSON Schema of the action's arguments."""
        return None if self.action is None else MessageToDict(self.action.parameters)


def id_of(request: Request) -> str:
    """The id in the page's path, which routes take as a UUID only."""
    return str(request.path_params["id"])


def quoted(text: str) -> str:
    """A text as a filter writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def read_review(session: Session, proposal_id: str) -> Review:
    """Raises PlangateError when the store has no such proposal or cannot be reached."""
    proposal = await session.store.proposals.get(proposal_id)
    (plan, siblings), action, events = await asyncio.gather(
        read_plan(session, proposal.plan_id),
        _action(session, proposal.action_name),
        proposal_events(session, proposal.id),
    )
    return Review(proposal, plan, siblings or [proposal], action, events)


async def read_plan(session: Session, plan_id: str) -> tuple[plan_pb2.Plan | None, list[proposal_pb2.Proposal]]:
    """A plan and its proposals; (None, []) when there is none."""
    if not plan_id:
        return None, []
    try:
        plan, page = await asyncio.gather(
            session.store.plans.get(plan_id),
            session.store.proposals.list_page(
                filter=f'plan_id = "{plan_id}"', order_by="create_time", page_size=_MAX_SIBLINGS
            ),
        )
    except NotFound:
        return None, []
    return plan, in_order(plan, page.proposals)


async def proposal_events(session: Session, proposal_id: str) -> list[event_pb2.Event]:
    """What happened to it, oldest first."""
    page = await session.store.events.list_page(
        filter=f'entity_id = "{proposal_id}" AND kind != "proposal.lease_renewed"',
        order_by="revision desc",
        page_size=_MAX_EVENTS,
        view=event_pb2.EVENT_VIEW_RESOURCE,
    )
    return [*page.events][::-1]


async def _action(session: Session, name: str) -> action_pb2.Action | None:
    try:
        return await session.planner.get_action(name)
    except PlangateError:
        # A review needs the store alone; without the planner it lacks descriptions of arguments.
        return None
