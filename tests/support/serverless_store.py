"""A store without its server: the database and the writer, as the servicers use them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from sqlalchemy import select

from store_service.commands import (
    ApproveProposal,
    ClaimProposals,
    Command,
    CompleteProposal,
    CreatePlan,
    CreateProposal,
    RequestKey,
)
from store_service.database.database import Database, open_database
from store_service.database.event_repository import EVENT_ATTRIBUTES, EventRepository, event_from_row
from store_service.database.models import EventModel
from store_service.database.rows import PROPOSALS
from store_service.domain.actor import Actor
from store_service.domain.events import GENESIS_HASH, Event, event_hash
from store_service.domain.plan import Job, PlanDraft, PlanState
from store_service.domain.proposal import Decision, Effect, Proposal, ProposalDraft
from store_service.engine.failpoints import FailPoint, FailPoints
from store_service.engine.writer import Writer, WriterOptions
from store_service.event_log.verification import Replay
from store_service.messages.log_entries import entry_of
from store_service.messages.log_rules import log_rules
from tests.support.manual_clock import ManualClock
from tests.support.proposals import ALICE, BOB, WORKER

ALLOW = Decision(Effect.ALLOW)
ASK = Decision(Effect.REQUIRE_APPROVAL, required_approvals=1)
DENY = Decision(Effect.DENY)


@dataclass
class Store:
    """An open store with a clock that stands still."""

    url: str
    clock: ManualClock
    database: Database
    writer: Writer

    async def told(self, command: Command) -> list[proposal_pb2.Proposal]:
        """Runs a command about proposals and decodes its answer."""
        answer = await self.writer.execute(command)
        return [proposal_pb2.Proposal.FromString(snapshot) for snapshot in answer.snapshots]

    async def one(self, command: Command) -> proposal_pb2.Proposal:
        """Runs a command that answers with one proposal."""
        [told] = await self.told(command)
        return told

    async def plan(self, command: Command) -> plan_pb2.Plan:
        """Runs a command that answers with one plan."""
        [snapshot] = (await self.writer.execute(command)).snapshots
        return plan_pb2.Plan.FromString(snapshot)

    async def created(self, action_name: str = "act", **fields: Any) -> proposal_pb2.Proposal:
        """A PENDING proposal of alice."""
        draft = ProposalDraft(action_name=action_name, **fields)
        return await self.one(CreateProposal(actor=ALICE, draft=draft, submit=True))

    async def approved(self, action_name: str = "act", **fields: Any) -> proposal_pb2.Proposal:
        """An APPROVED proposal of alice."""
        pending = await self.created(action_name, **fields)
        return await self.one(ApproveProposal(actor=BOB, proposal_id=pending.id, expected_version=1))

    async def claimed(self, action_name: str = "act", **fields: Any) -> proposal_pb2.Proposal:
        """An EXECUTING proposal, leased to WORKER."""
        await self.approved(action_name, **fields)
        return await self.one(ClaimProposals(actor=WORKER, action_names=frozenset({action_name})))

    async def executed(self, action_name: str = "act", **fields: Any) -> proposal_pb2.Proposal:
        """An EXECUTED proposal."""
        running = await self.claimed(action_name, **fields)
        return await self.one(CompleteProposal(actor=WORKER, proposal_id=running.id, attempt=running.attempt))

    async def planned(self, *jobs: Job) -> plan_pb2.Plan:
        """A PLANNED plan of alice."""
        return await self.plan(CreatePlan(actor=ALICE, draft=PlanDraft(state=PlanState.PLANNED, jobs=jobs)))

    async def rows(self) -> dict[str, Proposal]:
        """All proposals as the database has them."""
        async with self.database.reading.read() as session:
            rows = (await session.execute(select(*PROPOSALS.attributes))).all()
        return {proposal.id: proposal for proposal in map(PROPOSALS.entity, rows)}

    async def events(self) -> list[Event]:
        """The whole log, checked: no gaps, a sound chain, the head at its end, versions of each thing in one line, and
        nothing that no rule allows."""
        async with self.database.reading.read() as session:
            rows = await session.execute(select(*EVENT_ATTRIBUTES).order_by(EventModel.revision))
            events = [event_from_row(row) for row in rows]
            head = await EventRepository(session).head()
        assert head is not None
        previous = GENESIS_HASH
        versions: dict[str, int] = {}
        for position, event in enumerate(events, 1):
            assert event.revision == position
            assert event.prev_hash == previous
            assert event.hash == event_hash(event)
            assert event.version == versions.get(event.entity_id, 0) + 1
            versions[event.entity_id] = event.version
            previous = event.hash
        assert (head.revision, head.hash) == (len(events), previous)
        assert Replay(entry_of, "planner", from_the_beginning=True).first_fault(events) is None
        return events

    async def kinds(self) -> list[str]:
        """The kinds of all events, in order."""
        return [event.kind for event in await self.events()]


@asynccontextmanager
async def opened(
    url: str,
    *,
    clock: ManualClock | None = None,
    options: WriterOptions | None = None,
    fail_points: FailPoints | None = None,
) -> AsyncIterator[Store]:
    """Opens a store on a database, and closes it in the end."""
    clock = clock or ManualClock()
    database = await open_database(url)
    try:
        writer = Writer(
            database,
            clock=clock,
            log_rules=log_rules(),
            options=options,
            fail_points=fail_points,
        )
        await writer.start()
        try:
            yield Store(url, clock, database, writer)
        finally:
            await writer.stop()
    finally:
        await database.close()


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store on each database."""
    async with opened(database_url) as opened_store:
        yield opened_store


class Gate:
    """Holds the writer up just before a commit, until opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        self.fail_points = {FailPoint.BEFORE_COMMIT: self._pass}

    async def _pass(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


def failing_once(point: FailPoint, error: Exception) -> FailPoints:
    """Raises the error the first time the point is reached."""
    errors = [error]

    async def fail() -> None:
        if errors:
            raise errors.pop()

    return {point: fail}


def request(content: str = "", request_id: str = "") -> RequestKey:
    """A request_id with the fingerprint of some content."""
    return RequestKey(request_id or str(uuid.uuid4()), content.encode())


def job(job_id: str, decision: Decision = ALLOW, *needs: str, **fields: Any) -> Job:
    """A job whose action has the name of the job."""
    return Job(**{"id": job_id, "action_name": job_id, "decision": decision, "depends_on": needs} | fields)


def person(name: str) -> Actor:
    """A reviewer."""
    return Actor(name, frozenset({"reviewer"}))


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """Runs calls at once; exceptions are among the results."""
    return await asyncio.gather(*calls, return_exceptions=True)
