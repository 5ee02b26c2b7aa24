"""From what a person typed to the one thing they mean, and what a reviewer sees beside it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.session import first
from plangate_client.errors import NotFound, PermissionDenied
from plangate_client.outlook.waiting import Reviewer
from plangate_client.plans import Plans
from plangate_client.proposals import Proposals

# An end of an id is looked for among so many of the newest; a beginning is looked up by the store.
_NEWEST = 1000
_BEGINNINGS = 10


async def find_proposal(store: StoreClient, text: str) -> proposal_pb2.Proposal:
    """The proposal with this id, or with the only id that begins or ends so. Raises CommandFailed."""
    only: proposal_pb2.Proposal = _only(await _matches(store.proposals, text), text, "proposal")
    return only


async def find_proposal_or_plan(store: StoreClient, text: str) -> proposal_pb2.Proposal | plan_pb2.Plan:
    """As find_proposal, among plans too. Raises CommandFailed."""
    found = [*await _matches(store.proposals, text), *await _matches(store.plans, text)]
    only: proposal_pb2.Proposal | plan_pb2.Plan = _only(found, text, "proposal or plan")
    return only


async def _matches(kept: Proposals | Plans, text: str) -> list[Any]:
    try:
        whole = str(uuid.UUID(text))
    except ValueError:
        listed: Any = kept.list_all(filter=_beginning(text), page_size=_BEGINNINGS)
        if found := await first(listed, _BEGINNINGS):
            return found
        newest: list[Any] = await first(kept.list_all(page_size=_NEWEST), _NEWEST)
        return [thing for thing in newest if thing.id.endswith(text.lower())]
    try:
        return [await kept.get(whole)]
    except NotFound:
        return []


def _only(found: list[Any], text: str, kind: str) -> Any:
    if not found:
        raise CommandFailed(f"there is no {kind} {text}", ExitStatus.NOT_FOUND)
    if len(found) > 1:
        some = ", ".join(thing.id for thing in found[:3])
        raise CommandFailed(f"{text} is not unique: {some}{', ...' if len(found) > 3 else ''}", ExitStatus.USAGE)
    return found[0]


def _beginning(text: str) -> str:
    """A filter for the ids that begin so: all UUIDs between the smallest and the largest."""
    digits = text.lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{4,31}", digits):
        raise CommandFailed(f"{text!r} is no id, nor at least 4 of an id's hexadecimal digits", ExitStatus.USAGE)
    smallest, largest = (str(uuid.UUID(digits.ljust(32, filler))) for filler in "0f")
    return f'id >= "{smallest}" AND id <= "{largest}"'


@dataclass(frozen=True, slots=True)
class ProposalContext:
    """What a reviewer sees beside a proposal. Empty where there is no plan, or the caller may not read it."""

    plan: plan_pb2.Plan | None = None
    siblings: list[proposal_pb2.Proposal] = field(default_factory=list)
    """All proposals of the plan, this one too, in the order of their jobs."""
    before: proposal_pb2.Proposal | None = None
    """The proposal as it was created. None: it was never revised."""


async def context_of(store: StoreClient, proposal: proposal_pb2.Proposal) -> ProposalContext:
    """Look it up. Raises PlangateError for a store that is away."""
    plan: plan_pb2.Plan | None = None
    siblings: list[proposal_pb2.Proposal] = []
    if proposal.plan_id:
        try:
            plan = await store.plans.get(proposal.plan_id)
        except (NotFound, PermissionDenied):
            plan = None
        siblings = await proposals_of(store, proposal.plan_id)
    before = await _before_revisions(store, proposal) if proposal.revised_by else None
    return ProposalContext(plan, siblings, before)


async def reviewer_of(store: StoreClient) -> Reviewer:
    """Who the store takes the caller for."""
    answer = await store.who_am_i()
    return Reviewer(answer.identity, frozenset(answer.roles))


async def proposals_of(store: StoreClient, plan_id: str) -> list[proposal_pb2.Proposal]:
    """The proposals of one plan, in the order of their jobs."""
    found = [proposal async for proposal in store.proposals.list_all(filter=f'plan_id = "{plan_id}"')]
    return sorted(found, key=lambda proposal: proposal.id)


async def _before_revisions(store: StoreClient, proposal: proposal_pb2.Proposal) -> proposal_pb2.Proposal | None:
    page = await store.events.list_page(
        filter=f'entity_id = "{proposal.id}" AND version = 1',
        page_size=1,
        view=event_pb2.EVENT_VIEW_RESOURCE,
    )
    return page.events[0].proposal if page.events and page.events[0].HasField("proposal") else None
