"""Which catalogue and policy are in force for each planner, in the database."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from store_service.database.models import GovernanceModel


class GovernanceRepository:
    """Governance as one session sees it."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def digests(self) -> dict[str, str]:
        """The digest in force, by planner."""
        rows = await self._session.execute(select(GovernanceModel.planner, GovernanceModel.digest))
        return {row[0]: row[1] for row in rows}

    async def save(self, digests: Mapping[str, str]) -> None:
        """Writes what changed; an empty digest is none."""
        unsynchronized = {"synchronize_session": False}
        changed = delete(GovernanceModel).where(GovernanceModel.planner.in_(sorted(digests)))
        await self._session.execute(changed, execution_options=unsynchronized)
        rows = [{"planner": planner, "digest": digest} for planner, digest in digests.items() if digest]
        if rows:
            await self._session.execute(insert(GovernanceModel), rows)
