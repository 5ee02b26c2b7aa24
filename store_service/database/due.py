"""Finding what time has run out for: leases and proposals. Reads only; the commands look again before they act."""

from dataclasses import dataclass

from sqlalchemy import select, text

from store_service.database import models
from store_service.database.database import Database
from store_service.database.rows import PLANS, PROPOSALS
from store_service.domain.instant import Instant


@dataclass(frozen=True, slots=True)
class Due:
    """Ids, those that are longest overdue first."""

    expired_proposals: list[str]
    lapsed_proposals: list[str]
    lapsed_plans: list[str]

    def __len__(self) -> int:
        return len(self.expired_proposals) + len(self.lapsed_proposals) + len(self.lapsed_plans)


async def find_due(database: Database, now: Instant, limit: int) -> Due:
    """At most `limit` of each kind. Raises DatabaseUnavailable."""
    found: list[list[str]] = []
    async with database.read() as connection:
        for table, time, condition in (
            (PROPOSALS, PROPOSALS.columns.expire_time, models.EXPIRING),
            (PROPOSALS, PROPOSALS.columns.lease_expire_time, models.LEASED),
            (PLANS, PLANS.columns.lease_expire_time, models.LEASED),
        ):
            statement = select(table.columns.id).where(text(condition), time <= now).order_by(time).limit(limit)
            found.append(list((await connection.scalars(statement)).all()))
    return Due(*found)
