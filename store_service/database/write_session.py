"""What the writer asks of a database: one transaction at a time, in sets of rows.

Two databases, one protocol. The statements are compiled once from the ORM models; they run on the driver that
SQLAlchemy's engine opened, because the engine's own way to aiosqlite takes four thread switches per statement
(docs/decisions/0003-write-path.md has the numbers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Table

from store_service.commands.working_set import ReadyQuery
from store_service.database.models import PLANNING
from store_service.database.orm import Base
from store_service.database.rows import Row
from store_service.domain.events import LogHead
from store_service.domain.instant import Instant


class Conflict(Exception):
    """Another process changed the same rows, or made the same ones. The transaction must be rolled back."""


class ConnectionLost(Exception):
    """The connection is gone or the disk failed. `commit_sent`: the commit may have happened all the same."""

    def __init__(self, problem: str, *, commit_sent: bool = False) -> None:
        super().__init__(problem)
        self.commit_sent = commit_sent


class Unwritable(Exception):
    """The database refuses to write now (full, locked, damaged). Nothing of the transaction was stored."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Ids of queued plans of one priority and requester, oldest first."""

    priority: int
    requester: str
    plan_ids: Sequence[str]


class WriteSession(Protocol):
    """The only connection that writes. Every method but `close` may raise Conflict, ConnectionLost and Unwritable."""

    # True when no other process can write: rows may be remembered from one transaction to the next.
    exclusive: bool

    async def begin(self) -> LogHead:
        """Starts a transaction and locks the head of the log: until commit no other process appends to it.

        When exclusive, nothing is sent as long as the head is known."""

    async def send(self) -> None:
        """Writes that were only kept until now are sent, for whoever wants to see the database just before a commit."""

    async def commit(self) -> None:
        """Returns when everything is durable. May raise what the writes before it would have raised."""

    async def rollback(self) -> None:
        """Never fails: a connection that cannot roll back is given up."""

    async def close(self) -> None:
        """Gives the connection back."""

    async def proposals(self, ids: Sequence[str]) -> list[Row]:
        """The rows of those that exist."""

    async def plans(self, ids: Sequence[str]) -> list[Row]:
        """The rows of those that exist."""

    async def proposal_ids_of(self, plan_ids: Sequence[str]) -> list[tuple[str, str]]:
        """(plan id, proposal id) for all proposals of these plans."""

    async def dependents(self, ids: Sequence[str], *, all_the_way: bool) -> list[tuple[str, str]]:
        """(proposal id, id of one that waits for it), for these, and for those that were found when all_the_way."""

    async def answers(self, request_ids: Sequence[str]) -> list[Row]:
        """(request_id, actor, method, fingerprint, answer, revision, snapshot) of events that answered requests."""

    async def forget_answers(self, before: Instant, limit: int) -> int:
        """Lets the events that are older than `before` answer no repeated request any more: the oldest `limit` of them
        and those of the same commit, as an answer is forgotten as a whole.

        Returns how many were looked at: less than the limit when no more are that old.
        """

    async def event_hash(self, revision: int) -> bytes | None:
        """The hash of the event with this revision, if it exists."""

    async def ready(self, query: ReadyQuery, now: Instant, limit: int) -> list[str]:
        """Ids of proposals that can be claimed: highest priority first, then oldest."""

    async def plans_in_work(self) -> list[tuple[str, int]]:
        """How many plans are being planned, by requester."""

    async def queued_plans(self, now: Instant, limit: int) -> list[Candidates]:
        """At least `limit` plans that can be claimed, if there are so many: enough of every requester."""

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Adds rows. Raises Conflict when one exists already."""

    async def update(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Sets `columns` to the first values of each row, where id and version are its last two.

        Raises Conflict when a row is not in that version any more.
        """

    async def delete(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Removes the rows in which `columns` have these values."""

    async def set_head(self, before: LogHead, head: LogHead) -> None:
        """Moves the head of the log. Raises Conflict when it is not where it was."""


PLANS_IN_WORK = f"SELECT created_by, count(*) FROM plans WHERE {PLANNING} GROUP BY created_by"  # noqa: S608 - our own words
# A priority that none has.
ABOVE_ALL = 1_000_000
# These columns are not hashed: the log stays as it was.
FORGET = "UPDATE events SET method = '', fingerprint = NULL, answer = NULL WHERE answer IS NOT NULL AND"


def forgettable(times: Sequence[Row], before: Instant) -> Row | None:
    """The last of these (revision, time) up to which all are older; None when the first is not."""
    end = None
    for each in times:
        if each[1] >= before:
            break
        end = each
    return end


def guard_of(table: Table) -> str:
    """The name of the column that guards updates of a mapped table: its model's version_id_col."""
    mapper = next(mapper for mapper in Base.registry.mappers if mapper.local_table is table)
    assert mapper.version_id_col is not None, f"{table.name} is not versioned"
    return str(mapper.version_id_col.key)
