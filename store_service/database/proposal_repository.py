"""Proposals in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from store_service.commands.working_set import ReadyQuery
from store_service.database.bulk_writes import delete_rows, insert_rows, save_entities
from store_service.database.conditions import selected
from store_service.database.dialects import label, one_of, one_of_these, using
from store_service.database.models import (
    READY_ACTION_INDEX,
    READY_INDEX,
    DependencyModel,
    EventModel,
    GovernanceModel,
    ProposalModel,
    can_expire,
    constant,
    is_leased,
    is_present,
    is_ready,
    is_shown,
)
from store_service.database.orm import AnySelect
from store_service.database.rows import PROPOSALS
from store_service.domain.instant import Instant
from store_service.domain.proposal import EFFECTIVE_STATES, FINAL_STATES, IN_WORK_STATES, Proposal, ProposalState

# More action names than this are first reduced to those that have a ready proposal: each costs a statement.
_MANY_ACTIONS = 4


class Backlog(NamedTuple):
    """How many proposals of one state wait for one role, and when the first of them was submitted."""

    state: ProposalState
    reviewer_role: str
    proposals: int
    earliest_submit_time: Instant | None


class ProposalRepository:
    """Proposals as one session sees them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get_with_snapshots(self, ids: Sequence[str]) -> list[tuple[Proposal, bytes | None]]:
        """Those of these that exist, each with what the log says of its version; None when it says nothing."""
        rows = (await self._session.execute(_WITH_SNAPSHOT, {"ids": ids})).all()
        return [(PROPOSALS.entity(row[:-1]), row[-1]) for row in rows]

    async def save(self, changes: Sequence[tuple[Proposal | None, Proposal | None]]) -> None:
        """Writes each change: as it was loaded (None: it is new) and as it is to be (None: it is to be removed).

        Raises Conflict when a row is not in the version that was loaded.
        """
        await save_entities(self._session, PROPOSALS, changes)
        purged = [before for before, after in changes if before is not None and after is None]
        needed: list[dict[str, Any]] = []
        not_needed: list[tuple[str, str]] = []
        for before, after in changes:
            old = () if before is None else before.awaited
            new = old if after is None else after.awaited
            if old is not new and after is not None:
                needed += [{"depends_on_id": each, "proposal_id": after.id} for each in new if each not in old]
                not_needed += [(each, after.id) for each in old if each not in new]
        not_needed += [(needed_id, each.id) for each in purged for needed_id in each.awaited]
        if needed:
            await insert_rows(self._session, DependencyModel, needed)
        if purged:
            await delete_rows(self._session, DependencyModel, ("depends_on_id",), [(each.id,) for each in purged])
        if not_needed:
            await delete_rows(self._session, DependencyModel, ("depends_on_id", "proposal_id"), not_needed)

    async def ids_of_plans(self, plan_ids: Sequence[str]) -> list[tuple[str, str]]:
        """(plan id, proposal id) for all proposals of these plans."""
        return [(row[0], row[1]) for row in await self._session.execute(_OF_PLANS, {"ids": plan_ids})]

    async def dependents(self, ids: Sequence[str], *, transitive: bool) -> list[tuple[str, str]]:
        """(proposal id, id of one that waits for it), for these, and for those that were found when `transitive`."""
        statement = _DEPENDENTS_TRANSITIVE if transitive else _DEPENDENTS
        return [(row[0], row[1]) for row in await self._session.execute(statement, {"ids": ids})]

    async def ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[str]:
        """Ids of proposals that can be claimed: highest priority first, then oldest. On PostgreSQL their rows are
        locked, and rows that are locked already are left out."""
        names = query.action_names
        if query.plan_id or (not names and query.executes is None):
            statement = _limited(_READY if not query.plan_id else _READY_OF_PLAN, query)
            if query.action_names:
                statement = statement.where(one_of_these(ProposalModel.action_name, sorted(query.action_names)))
            parameters = {"now": now, "count": limit} | ({"plan_id": query.plan_id} if query.plan_id else {})
            return [row[0] for row in await self._session.execute(statement, parameters)]
        if query.executes is not None or len(names) > _MANY_ACTIONS:
            names = frozenset(filter(query.takes, await self.ready_actions()))
        found: list[tuple[int, str]] = []
        statement = _limited(_READY_OF_ACTION, query)
        for name in names:
            rows = await self._session.execute(statement, {"name": name, "now": now, "count": limit})
            found += [(-row[1], row[0]) for row in rows]
        found.sort()
        return [proposal_id for _, proposal_id in found[:limit]]

    async def ready_actions(self) -> Sequence[str]:
        """The names of actions that have ready proposals, whether their time has come or not."""
        return (await self._session.scalars(_READY_ACTIONS)).all()

    async def find_ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[Proposal]:
        """As `ready`, for a query of one action or one plan, and without locks. Only the id, the action, the plan and
        the labels are filled in."""
        if query.plan_id:
            statement, parameters = _FOUND_OF_PLAN, {"plan_id": query.plan_id}
        else:
            [name] = query.action_names
            statement, parameters = _FOUND_OF_ACTION, {"name": name}
        rows = await self._session.execute(_limited(statement, query), {**parameters, "now": now, "count": limit})
        return [Proposal.of(id=row[0], action_name=row[2], plan_id=row[3], labels=row[4]) for row in rows]

    async def of_effects(self, effect_keys: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """(effect key, proposal id) of proposals that may have, or have had, one of these effects: of each the newest
        `limit`."""
        found: list[tuple[str, str]] = []
        for effect_key in effect_keys:
            rows = await self._session.scalars(_OF_EFFECT, {"effect_key": effect_key, "count": limit})
            found += [(effect_key, proposal_id) for proposal_id in rows]
        return found

    async def expired(self, now: Instant, limit: int) -> Sequence[str]:
        """Ids of proposals that waited longer than they may; the longest overdue first."""
        statement = select(ProposalModel.id).where(can_expire(), ProposalModel.expire_time <= now)
        return (await self._session.scalars(statement.order_by(ProposalModel.expire_time).limit(limit))).all()

    async def with_lapsed_lease(self, now: Instant, limit: int) -> Sequence[str]:
        """Ids of proposals whose lease ran out; the longest overdue first."""
        statement = select(ProposalModel.id).where(
            is_leased(ProposalModel),
            ProposalModel.lease_expire_time <= now,
            # An UNRESOLVED one keeps its lease: it says who held it.
            ProposalModel.state == ProposalState.EXECUTING,
        )
        return (await self._session.scalars(statement.order_by(ProposalModel.lease_expire_time).limit(limit))).all()

    async def backlog(self) -> list[Backlog]:
        """The proposals that have not ended, counted; soft-deleted ones are not."""
        return [Backlog(*row) for row in await self._session.execute(_BACKLOG)]


_BACKLOG = (
    select(ProposalModel.state, ProposalModel.reviewer_role, func.count(), func.min(ProposalModel.submit_time))
    .where(ProposalModel.state.in_(sorted(set(ProposalState) - FINAL_STATES)), is_shown(ProposalModel))
    .group_by(ProposalModel.state, ProposalModel.reviewer_role)
)
_WITH_SNAPSHOT = (
    select(*PROPOSALS.attributes, EventModel.snapshot)
    .outerjoin(EventModel, and_(EventModel.entity_id == ProposalModel.id, EventModel.version == ProposalModel.version))
    .where(one_of(ProposalModel.id, "ids"))
)
_OF_PLANS = select(ProposalModel.plan_id, ProposalModel.id).where(
    is_present(ProposalModel.plan_id), one_of(ProposalModel.plan_id, "ids")
)


def _dependents_transitive() -> AnySelect:
    reached = select(DependencyModel.depends_on_id.label("id")).where(one_of(DependencyModel.depends_on_id, "ids"))
    found = reached.cte("reached", recursive=True)
    found = found.union(select(DependencyModel.proposal_id).join(found, DependencyModel.depends_on_id == found.c.id))
    return select(DependencyModel.depends_on_id, DependencyModel.proposal_id).join(
        found, DependencyModel.depends_on_id == found.c.id
    )


_DEPENDENTS = select(DependencyModel.depends_on_id, DependencyModel.proposal_id).where(
    one_of(DependencyModel.depends_on_id, "ids")
)
_DEPENDENTS_TRANSITIVE = _dependents_transitive()


_OF_EFFECT = (
    select(ProposalModel.id)
    .where(
        is_present(ProposalModel.effect_key),
        ProposalModel.effect_key == bindparam("effect_key"),
        ProposalModel.delete_time.is_(None),
        ProposalModel.state.in_(sorted(EFFECTIVE_STATES)),
    )
    .order_by(ProposalModel.id.desc())
    .limit(bindparam("count"))
)


def _effect_is_free() -> ColumnElement[bool]:
    """No other proposal of the same effect is in work."""
    other = aliased(ProposalModel)
    in_work = (
        select(other.id)
        .where(
            other.effect_key != constant(ProposalModel.effect_key, ""),
            other.effect_key == ProposalModel.effect_key,
            other.state.in_(sorted(IN_WORK_STATES)),
        )
        .correlate(ProposalModel)
        .exists()
    )
    return or_(ProposalModel.effect_key == constant(ProposalModel.effect_key, ""), ~in_work)


def _is_decided_under_what_is_in_force() -> ColumnElement[bool]:
    """The planner that decided has no other catalogue and policy in force now."""
    other = select(GovernanceModel.planner).where(
        GovernanceModel.planner == label(ProposalModel.decision, "decided_by"),
        GovernanceModel.digest != label(ProposalModel.decision, "governance_digest"),
    )
    return ~other.correlate(ProposalModel).exists()


def _in_time() -> ColumnElement[bool]:
    now = bindparam("now", type_=ProposalModel.not_before_time.type)
    due = or_(ProposalModel.not_before_time.is_(None), ProposalModel.not_before_time <= now)
    return due & or_(ProposalModel.expire_time.is_(None), ProposalModel.expire_time > now)


def _limited(statement: AnySelect, query: ReadyQuery) -> AnySelect:
    """The statement, over what the executor may claim."""
    if query.executes is None:
        return statement
    return statement.where(or_(false(), *(selected(ProposalModel, each) for each in query.executes)))


def _ready(*conditions: ColumnElement[bool]) -> AnySelect:
    return (
        select(
            ProposalModel.id,
            ProposalModel.priority,
            ProposalModel.action_name,
            ProposalModel.plan_id,
            ProposalModel.labels,
        )
        .where(*conditions, is_ready(), _in_time(), _effect_is_free(), _is_decided_under_what_is_in_force())
        .order_by(ProposalModel.priority.desc(), ProposalModel.id)
        .limit(bindparam("count"))
    )


def _ready_actions() -> AnySelect:
    """Hops from one action to the next in the index, however many proposals each has."""
    first = using(select(func.min(ProposalModel.action_name).label("name")), ProposalModel, READY_ACTION_INDEX)
    action = first.where(is_ready()).cte("action", recursive=True)
    following = (
        using(select(func.min(ProposalModel.action_name)), ProposalModel, READY_ACTION_INDEX)
        .where(is_ready(), ProposalModel.action_name > action.c.name)
        .scalar_subquery()
    )
    action = action.union_all(select(following).where(action.c.name.is_not(None)))
    return select(action.c.name).where(action.c.name.is_not(None))


_FOUND_OF_ACTION = using(_ready(ProposalModel.action_name == bindparam("name")), ProposalModel, READY_ACTION_INDEX)
_FOUND_OF_PLAN = _ready(ProposalModel.plan_id == bindparam("plan_id"), is_present(ProposalModel.plan_id))
_READY = using(_ready(), ProposalModel, READY_INDEX).with_for_update(skip_locked=True)
_READY_OF_ACTION = _FOUND_OF_ACTION.with_for_update(skip_locked=True)
_READY_OF_PLAN = _FOUND_OF_PLAN.with_for_update(skip_locked=True)
_READY_ACTIONS = _ready_actions()
