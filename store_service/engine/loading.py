"""Reading what a batch needs: each table once, whatever the number of commands."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from store_service.commands.working_set import Needs, PlanQueue, WorkingSet
from store_service.database.row_cache import CommittedRows, E, RowCache
from store_service.database.rows import Row, plan_from_row, proposal_from_row
from store_service.database.write_session import WriteSession


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
        plan_ids.update(await _likely_plans(session, needs.queued_plans + needs.plan_spoilers, working_set))
    if proposal_ids:
        await _take(proposal_ids, committed.proposals, session.proposals, proposal_from_row, working_set.proposals)
    if plan_ids:
        await _take(plan_ids, committed.plans, session.plans, plan_from_row, working_set.plans)


async def _likely_plans(session: WriteSession, count: int, working_set: WorkingSet) -> list[str]:
    """Fills the queue, and returns the ids of the plans that claims would take from it now: thousands of requesters may
    wait, and of most of their plans no more is needed than that they are there."""
    working_set.plans_in_work = dict(await session.plans_in_work())
    in_work, rehearsal, requesters = dict(working_set.plans_in_work), PlanQueue(), dict[str, str]()
    for candidates in await session.queued_plans(working_set.now, count):
        for candidate in candidates.plan_ids:
            requesters[candidate] = candidates.requester
            for queue in (working_set.plan_queue, rehearsal):
                queue.add(candidates.priority, candidates.requester, candidate)
    likely: list[str] = []
    while len(likely) < count and (plan_id := rehearsal.take(in_work)) is not None:
        likely.append(plan_id)
        in_work[requesters[plan_id]] = in_work.get(requesters[plan_id], 0) + 1
    return likely


async def _take(
    ids: set[str],
    committed: RowCache[E],
    read: Callable[[Sequence[str]], Awaitable[list[Row]]],
    from_row: Callable[[Row], E],
    into: dict[str, E | None],
) -> None:
    """Entities as they were committed last: those that are remembered from memory, the others from the database."""
    missing: list[str] = []
    for entity_id in ids:
        remembered = committed.get(entity_id)
        if remembered is None:
            missing.append(entity_id)
        else:
            into[entity_id] = remembered
    if missing:
        for row in await read(missing):
            entity = from_row(row)
            into[entity.id] = entity
