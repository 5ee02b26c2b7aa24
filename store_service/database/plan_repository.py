"""Plans in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from store_service.database.bulk_writes import save_entities
from store_service.database.dialects import one_of, using
from store_service.database.models import (
    QUEUE_INDEX,
    PlanModel,
    is_being_planned,
    is_leased,
    is_queued,
    is_shown,
)
from store_service.database.orm import AnySelect
from store_service.database.rows import PLANS
from store_service.domain.instant import Instant
from store_service.domain.plan import Plan, PlanState

# A priority that none has.
_ABOVE_ALL = 1_000_000


class PlanRepository:
    """Plans as one session sees them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, ids: Sequence[str]) -> list[Plan]:
        """Those of these that exist."""
        connection = await self._session.connection()
        return [PLANS.entity(row) for row in await connection.execute(_BY_ID, {"ids": ids})]

    async def save(self, changes: Sequence[tuple[Plan | None, Plan | None]]) -> None:
        """Writes each change: as it was loaded (None: it is new) and as it is to be (None: it is to be removed).

        Raises Conflict when a row is not in the version that was loaded.
        """
        await save_entities(self._session, PLANS, changes)

    async def in_work(self) -> list[tuple[str, int]]:
        """How many plans are being planned, by requester."""
        return [(row[0], row[1]) for row in await self._session.execute(_IN_WORK)]

    async def queued(self, now: Instant, limit: int) -> list[tuple[int, str, str]]:
        """(priority, requester, plan id) of at least `limit` plans that can be claimed, if there are so many: enough of
        every requester, those of one oldest first. On PostgreSQL their rows are locked, and rows that are locked
        already are left out."""
        found: list[tuple[int, str, str]] = []
        priority = _ABOVE_ALL
        while len(found) < limit:
            below: int | None = await self._session.scalar(_NEXT_PRIORITY, {"priority": priority, "now": now})
            if below is None:
                break
            priority = below
            parameters = {"priority": priority, "now": now, "position": limit - 1}
            rows = await self._session.execute(_OLDEST_OF_EACH, parameters)
            found += sorted((priority, requester, plan_id) for requester, plan_id in rows)
        return found

    async def find_queued(self, now: Instant, limit: int) -> list[Plan]:
        """Any plans that can be claimed, without locks. Only the id is filled in."""
        statement = select(PlanModel.id).where(is_queued(), _is_due(PlanModel))
        return [Plan.of(id=plan_id) for plan_id in await self._session.scalars(statement.limit(limit), {"now": now})]

    async def unfinished(self) -> dict[PlanState, int]:
        """How many plans wait to be planned, and how many are being planned; soft-deleted ones are not counted."""
        return {PlanState(state): number for state, number in await self._session.execute(_UNFINISHED)}

    async def with_lapsed_lease(self, now: Instant, limit: int) -> Sequence[str]:
        """Ids of plans whose lease ran out; the longest overdue first."""
        statement = select(PlanModel.id).where(is_leased(PlanModel), PlanModel.lease_expire_time <= now)
        return (await self._session.scalars(statement.order_by(PlanModel.lease_expire_time).limit(limit))).all()


_UNFINISHED = (
    select(PlanModel.state, func.count())
    .where(PlanModel.state.in_([PlanState.QUEUED, PlanState.PLANNING]), is_shown(PlanModel))
    .group_by(PlanModel.state)
)
_BY_ID = select(*PLANS.attributes).where(one_of(PlanModel.id, "ids"))
_IN_WORK = select(PlanModel.created_by, func.count()).where(is_being_planned()).group_by(PlanModel.created_by)


def _is_due(plan: type[PlanModel]) -> ColumnElement[bool]:
    now = bindparam("now", type_=PlanModel.not_before_time.type)
    return or_(plan.not_before_time.is_(None), plan.not_before_time <= now)


def _oldest_of_each() -> AnySelect:
    """(requester, plan id): the oldest plans of every requester, up to a position.

    Hops from one requester to the next in the index, however many plans each has, and from there to a range of ids.
    """
    priority = bindparam("priority", type_=PlanModel.priority.type)
    waiting = and_(is_queued(), PlanModel.priority == priority)
    first = using(select(func.min(PlanModel.created_by).label("name")), PlanModel, QUEUE_INDEX).where(waiting)
    requester = first.cte("requester", recursive=True)
    following = (
        using(select(func.min(PlanModel.created_by)), PlanModel, QUEUE_INDEX)
        .where(waiting, PlanModel.created_by > requester.c.name)
        .scalar_subquery()
    )
    requester = requester.union_all(select(following).where(requester.c.name.is_not(None)))
    own = aliased(PlanModel, name="own")
    of_requester = and_(is_queued(own), own.priority == priority, own.created_by == requester.c.name, _is_due(own))
    last_wanted = select(own.id).where(of_requester).order_by(own.id).limit(1).offset(bindparam("position"))
    last = select(func.max(own.id)).where(of_requester)
    up_to = func.coalesce(
        *(using(each, own, QUEUE_INDEX).correlate(requester).scalar_subquery() for each in (last_wanted, last))
    )
    statement = select(requester.c.name, PlanModel.id).where(
        waiting, PlanModel.created_by == requester.c.name, PlanModel.id <= up_to, _is_due(PlanModel)
    )
    return using(statement, PlanModel, QUEUE_INDEX).with_for_update(of=PlanModel, skip_locked=True)


_NEXT_PRIORITY = (
    using(select(PlanModel.priority), PlanModel, QUEUE_INDEX)
    .where(is_queued(), PlanModel.priority < bindparam("priority"), _is_due(PlanModel))
    .order_by(PlanModel.priority.desc())
    .limit(1)
)
_OLDEST_OF_EACH = _oldest_of_each()
