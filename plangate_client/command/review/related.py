"""What a reviewer sees beside a proposal: its plan, the other steps, and how it was before a revision."""

from __future__ import annotations

from dataclasses import dataclass, field

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.errors import NotFound, PermissionDenied
from plangate_client.outlook.waiting import Reviewer


@dataclass(frozen=True, slots=True)
class ProposalContext:
    """Empty where there is no plan, or the caller may not read it."""

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
