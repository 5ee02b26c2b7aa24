"""Reading what a batch needs: each table once, whatever the number of commands."""

from collections import Counter, deque

from store_service.commands.working_set import SAME_EFFECTS_SHOWN, Needs, PlanQueue, WorkingSet
from store_service.database.write_session import WriteSession


async def load(session: WriteSession, needs: Needs, working_set: WorkingSet) -> None:
    """Fills the working set. Nothing may have been applied to it yet."""
    proposal_ids, plan_ids, ending = set(needs.proposals), set(needs.plans), set(needs.ending)
    if needs.ending_plans:
        for plan_id, proposal_id in await session.proposals.ids_of_plans(list(needs.ending_plans)):
            working_set.proposals_of.setdefault(plan_id, set()).add(proposal_id)
            proposal_ids.add(proposal_id)
            ending.add(proposal_id)
    if needs.ready:
        # Commands of other kinds, and claims with other wishes, may take some away before it is a claim's turn.
        limit = sum(needs.ready.values()) + needs.spoilers
        for query in needs.ready:
            ready = await session.proposals.ready(query, working_set.now, limit)
            working_set.ready[query] = deque(ready)
            proposal_ids.update(ready)
        ready_ids = {proposal_id for ready in working_set.ready.values() for proposal_id in ready}
        await _load_histories(session, ready_ids, working_set)
    for ids, transitive in ((needs.completing, False), (ending, True)):
        if ids:
            for proposal_id in ids:
                working_set.dependents.setdefault(proposal_id, set())
            for proposal_id, dependent_id in await session.proposals.dependents(list(ids), transitive=transitive):
                working_set.dependents.setdefault(proposal_id, set()).add(dependent_id)
                if transitive:
                    working_set.dependents.setdefault(dependent_id, set())
                proposal_ids.add(dependent_id)
    if needs.ready or needs.governance:
        working_set.governance.update(await session.governance.digests())
    if needs.effect_keys:
        keys = sorted(needs.effect_keys)
        for effect_key, proposal_id in await session.proposals.of_effects(keys, SAME_EFFECTS_SHOWN):
            working_set.of_effect.setdefault(effect_key, []).append(proposal_id)
            proposal_ids.add(proposal_id)
    if needs.queued_plans:
        likely = await _likely_plans(session, needs.queued_plans + needs.plan_spoilers, working_set)
        await _load_histories(session, set(likely), working_set)
        plan_ids.update(likely)
    if proposal_ids:
        await _load_proposals(session, proposal_ids, working_set)
        candidates = [working_set.proposals.get(id_) for ready in working_set.ready.values() for id_ in ready]
        needed = {needed_id for each in candidates if each is not None for needed_id in each.depends_on}
        if missing := needed - working_set.proposals.keys():
            await _load_proposals(session, missing, working_set)
    if plan_ids:
        working_set.plans.update((each.id, each) for each in await session.plans.get(list(plan_ids)))


async def _load_histories(session: WriteSession, ids: set[str], working_set: WorkingSet) -> None:
    for event in await session.events.of_entities(sorted(ids)) if ids else ():
        working_set.histories.setdefault(event.entity_id, []).append(event)


async def _load_proposals(session: WriteSession, ids: set[str], working_set: WorkingSet) -> None:
    for proposal, snapshot in await session.proposals.get_with_snapshots(sorted(ids)):
        working_set.proposals[proposal.id] = proposal
        working_set.snapshots[proposal.id] = snapshot


async def _likely_plans(session: WriteSession, count: int, working_set: WorkingSet) -> list[str]:
    """Fills the queue, and returns the ids of the plans that claims would take from it now: only those are loaded."""
    working_set.plans_in_work = dict(await session.plans.in_work())
    in_work, rehearsal, requesters = Counter(working_set.plans_in_work), PlanQueue(), dict[str, str]()
    for priority, requester, candidate in await session.plans.queued(working_set.now, count):
        requesters[candidate] = requester
        for queue in (working_set.plan_queue, rehearsal):
            queue.add(priority, requester, candidate)
    likely: list[str] = []
    while len(likely) < count and (plan_id := rehearsal.take(in_work)) is not None:
        likely.append(plan_id)
        in_work[requesters[plan_id]] += 1
    return likely
