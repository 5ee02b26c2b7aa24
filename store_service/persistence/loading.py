"""Reading what a batch needs: each table once, whatever the number of commands."""

from collections import deque

from store_service.commands.working_set import Needs, WorkingSet
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal
from store_service.persistence.row_cache import CommittedRows, RowCache
from store_service.persistence.rows import plan_from_row, proposal_from_row
from store_service.persistence.write_session import WriteSession


async def load(session: WriteSession, needs: Needs, working_set: WorkingSet, committed: CommittedRows) -> None:
    """Fills the working set. Nothing may have been applied to it yet."""
    proposal_ids, plan_ids, ending = set(needs.proposals), set(needs.plans), set(needs.ending)
    if needs.ending_plans:
        for plan_id, proposal_id in await session.proposal_ids_of(list(needs.ending_plans)):
            working_set.proposals_of.setdefault(plan_id, set()).add(proposal_id)
            proposal_ids.add(proposal_id)
            ending.add(proposal_id)
    if needs.ready:
        # Commands of other kinds, and claims with other wishes, may take some away before it is a claim's turn.
        limit = sum(needs.ready.values()) + needs.spoilers
        for query in needs.ready:
            ready = await session.ready(query, working_set.now, limit)
            working_set.ready[query] = deque(ready)
            proposal_ids.update(ready)
    for ids, all_the_way in ((needs.completing, False), (ending, True)):
        if ids:
            for proposal_id in ids:
                working_set.dependents.setdefault(proposal_id, set())
            for proposal_id, dependent_id in await session.dependents(list(ids), all_the_way=all_the_way):
                working_set.dependents.setdefault(proposal_id, set()).add(dependent_id)
                if all_the_way:
                    working_set.dependents.setdefault(dependent_id, set())
                proposal_ids.add(dependent_id)
    if needs.queued_plans:
        working_set.plans_in_work = dict(await session.plans_in_work())
        for candidates in await session.queued_plans(working_set.now, needs.queued_plans):
            for plan_id in candidates.plan_ids:
                working_set.plan_queue.add(candidates.priority, candidates.requester, plan_id)
            plan_ids.update(candidates.plan_ids)
    if proposal_ids:
        await _load_proposals(session, working_set, proposal_ids, committed.proposals)
    if plan_ids:
        await _load_plans(session, working_set, plan_ids, committed.plans)


async def _load_proposals(
    session: WriteSession, working_set: WorkingSet, ids: set[str], committed: RowCache[Proposal]
) -> None:
    missing: list[str] = []
    for proposal_id in ids:
        remembered = committed.get(proposal_id)
        if remembered is None:
            missing.append(proposal_id)
        else:
            working_set.proposals[proposal_id] = remembered
    if missing:
        for row in await session.proposals(missing):
            proposal = proposal_from_row(row)
            working_set.proposals[proposal.id] = proposal


async def _load_plans(session: WriteSession, working_set: WorkingSet, ids: set[str], committed: RowCache[Plan]) -> None:
    missing: list[str] = []
    for plan_id in ids:
        remembered = committed.get(plan_id)
        if remembered is None:
            missing.append(plan_id)
        else:
            working_set.plans[plan_id] = remembered
    if missing:
        for row in await session.plans(missing):
            plan = plan_from_row(row)
            working_set.plans[plan.id] = plan
