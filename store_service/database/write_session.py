"""The only session that writes: one connection that stays checked out, one transaction and AsyncSession per batch."""

from __future__ import annotations

import contextlib

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from store_service.database.event_repository import EventRepository, LogHeadUnreadable
from store_service.database.failures import ConnectionLost, FileGone, Unwritable, failure_of
from store_service.database.governance_repository import GovernanceRepository
from store_service.database.plan_repository import PlanRepository
from store_service.database.proposal_repository import ProposalRepository
from store_service.database.sqlite.file_lock import FileLock
from store_service.database.sqlite.rescue import RescueFailed, rescue
from store_service.domain.events import LogHead
from store_service.domain.seals import LogKey, head_fault


class WriteSession:
    """Every method but `rollback` and `close`, and every method of the repositories, may raise Conflict, ConnectionLost
    and Unwritable.

    A transaction begins by locking the head of the log (PostgreSQL: its row; SQLite: the file). Every write of every
    store process holds that lock from its first read to its commit, so all of them see each other's batches in whole
    and in one order. The guards on versions remain for those who write past the store.
    """

    proposals: ProposalRepository
    plans: PlanRepository
    events: EventRepository
    governance: GovernanceRepository

    def __init__(self, engine: AsyncEngine, *, lock: FileLock | None, log_key: LogKey | None = None) -> None:
        """`lock`: of the SQLite file; None when other processes can write. `log_key`: seals the log."""
        self._log_key = log_key
        self.exclusive = lock is not None
        self._lock = lock
        self._engine = engine
        self._sessions = async_sessionmaker(engine, autoflush=False, expire_on_commit=False)
        self._connection: AsyncConnection | None = None
        self._session: AsyncSession | None = None
        # Where the last commit left it, if no other process can have moved it.
        self._head: LogHead | None = None

    async def begin(self) -> LogHead:
        """Starts a transaction and locks the head of the log: until its end no other process appends to it.

        When `exclusive`, the head is read once and then as `commit` was given it: it is compared when it is moved.
        """
        if self._connection is None:
            self._connection = await self._connect()
        if self._lock is not None and not self.file_is_in_place:
            raise await self._file_gone(self._connection, self._lock.path)
        self._session = session = self._sessions(bind=self._connection)
        self.proposals, self.plans = ProposalRepository(session), PlanRepository(session)
        self.events, self.governance = EventRepository(session, self._log_key), GovernanceRepository(session)
        if self._head is not None:
            return self._head
        try:
            head = await self.events.head(for_update=True)
        except LogHeadUnreadable as error:
            raise Unwritable(str(error)) from error
        except DBAPIError as error:
            # No such table, for example.
            raise Unwritable(str(error.orig)) from error
        if head is None:
            raise Unwritable("the log has no head row")
        if fault := head_fault(self._log_key, head):
            raise Unwritable(fault)
        return head

    async def commit(self, head: LogHead) -> None:
        """Returns when everything is durable. `head`: where the log ends then."""
        assert self._session is not None, "begin comes first"
        try:
            await self._session.commit()
        except ConnectionLost as error:
            # On SQLite, frames may be in the WAL though the sync failed: after a crash they could count.
            raise ConnectionLost(str(error), commit_sent=True) from error
        self._head = head if self.exclusive else None

    async def rollback(self) -> None:
        """Ends the transaction, if there is one. A connection that cannot roll back is given up."""
        session, self._session = self._session, None
        self._head = None
        if session is None:
            return
        try:
            await session.rollback()
            await session.close()
        except Exception:
            await self.close()

    async def close(self) -> None:
        """Gives the connection up. Never fails."""
        session, self._session = self._session, None
        self._head = None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for end in (connection.invalidate, *([session.close] if session else []), connection.close):
            with contextlib.suppress(Exception):
                await end()

    @property
    def file_is_in_place(self) -> bool:
        """Whether the SQLite file that is served is still at its path. True of other databases."""
        return self._lock is None or self._lock.is_of_the_path()

    async def _file_gone(self, connection: AsyncConnection, path: str) -> FileGone:
        try:
            return FileGone(path, await rescue(connection, path))
        except RescueFailed as failed:
            return FileGone(path, None, str(failed))

    async def _connect(self) -> AsyncConnection:
        try:
            return await self._engine.connect()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            failure = failure_of(getattr(error, "orig", None) or error)
            raise failure or ConnectionLost(str(error)) from error
