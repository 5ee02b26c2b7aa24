"""The naive version to compare with: one session and one durable transaction per request.

Same contract, same ORM, same pragmas (WAL, synchronous=FULL) as the store, the same rows written (a proposal and an
event with a chained hash), but no batching: what one would write first. Only what the load generator calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from datetime import UTC, datetime

import grpc
import uuid6
from google.protobuf import json_format
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2, store_service_pb2, store_service_pb2_grpc
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.processes import serve

PENDING, APPROVED, EXECUTING, EXECUTED = (
    proposal_pb2.PROPOSAL_STATE_PENDING,
    proposal_pb2.PROPOSAL_STATE_APPROVED,
    proposal_pb2.PROPOSAL_STATE_EXECUTING,
    proposal_pb2.PROPOSAL_STATE_EXECUTED,
)


class Model(AsyncAttrs, DeclarativeBase):
    pass


class ProposalModel(Model):
    __tablename__ = "proposals"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    state: Mapped[int] = mapped_column(index=True)
    action_name: Mapped[str]
    action_args: Mapped[str]
    description: Mapped[str]
    reviewer: Mapped[str] = mapped_column(default="")
    attempt: Mapped[int] = mapped_column(default=0)
    create_time: Mapped[datetime]
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012  # the mapper's own spelling


class EventModel(Model):
    __tablename__ = "events"
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    entity_id: Mapped[str]
    kind: Mapped[str]
    snapshot: Mapped[bytes]
    hash: Mapped[bytes]


def _durable(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection, record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection) -> None:  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class NaiveProposals(store_service_pb2_grpc.ProposalServiceServicer):
    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def CreateProposal(self, request, context):  # type: ignore[no-untyped-def]
        async with self._sessions.begin() as session:
            row = ProposalModel(
                id=str(uuid6.uuid7()),
                state=PENDING,
                action_name=request.proposal.action_name,
                action_args=json_format.MessageToJson(request.proposal.action_args),
                description=request.proposal.description,
                create_time=datetime.now(UTC),
            )
            session.add(row)
            await self._log(session, row, "proposal.created")
        return _message(row)

    async def BatchCreateProposals(self, request, context):  # type: ignore[no-untyped-def]
        made = [await self.CreateProposal(one, context) for one in request.requests]  # type: ignore[no-untyped-call]
        return store_service_pb2.BatchCreateProposalsResponse(proposals=made)

    async def ApproveProposal(self, request, context):  # type: ignore[no-untyped-def]
        async with self._sessions.begin() as session:
            row = await session.get(ProposalModel, request.id)
            if row is None or row.version != request.expected_version:
                await context.abort(grpc.StatusCode.ABORTED, "version conflict")
                raise AssertionError("abort raises")
            row.state, row.reviewer = APPROVED, "bob"
            await self._log(session, row, "proposal.approved")
        return _message(row)

    async def ClaimProposals(self, request, context):  # type: ignore[no-untyped-def]
        async with self._sessions.begin() as session:
            row = (await session.scalars(select(ProposalModel).where(ProposalModel.state == APPROVED).limit(1))).first()
            if row is None:
                return store_service_pb2.ClaimProposalsResponse()
            row.state, row.attempt = EXECUTING, row.attempt + 1
            await self._log(session, row, "proposal.claimed")
        return store_service_pb2.ClaimProposalsResponse(proposals=[_message(row)])

    async def CompleteProposal(self, request, context):  # type: ignore[no-untyped-def]
        async with self._sessions.begin() as session:
            row = await session.get(ProposalModel, request.id)
            if row is None or row.attempt != request.attempt:
                await context.abort(grpc.StatusCode.ABORTED, "lease lost")
                raise AssertionError("abort raises")
            row.state = EXECUTED
            await self._log(session, row, "proposal.completed")
        return _message(row)

    async def _log(self, session: AsyncSession, row: ProposalModel, kind: str) -> None:
        await session.flush()
        last = (await session.scalars(select(EventModel).order_by(EventModel.revision.desc()).limit(1))).first()
        snapshot = _message(row).SerializeToString()
        digest = hashlib.sha256((last.hash if last else bytes(32)) + kind.encode() + snapshot).digest()
        session.add(EventModel(entity_id=row.id, kind=kind, snapshot=snapshot, hash=digest))


def _message(row: ProposalModel) -> proposal_pb2.Proposal:
    message = proposal_pb2.Proposal(
        id=row.id,
        version=row.version,
        state=row.state,  # type: ignore[arg-type]
        action_name=row.action_name,
        description=row.description,
        attempt=row.attempt,
        lease=plan_pb2.Lease(attempt=row.attempt),
    )
    json_format.Parse(row.action_args, message.action_args)
    return message


async def main(database: str) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    _durable(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)
    server = grpc.aio.server()
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    proposals = NaiveProposals(sessions)  # type: ignore[abstract]  # only what the benchmark calls
    store_service_pb2_grpc.add_ProposalServiceServicer_to_server(proposals, server)
    await serve(server)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
