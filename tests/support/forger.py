"""Somebody with write access to the database: rows, events and head, with a chain of hashes that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from plangate.store.v1 import proposal_pb2
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from store_service.database.column_types import OPTIONAL_DECISION
from store_service.database.maintenance.sealing import key_path, read_key, reseal
from store_service.domain.events import GENESIS_HASH, EntityType, Event, event_hash
from store_service.messages.decoding import decision_from_proto, json_from_struct

_HASHED = (
    "revision, entity_type, entity_id, version, kind, actor, authenticated, via, time, request_id, comment, snapshot, "
    "prev_hash, hash, plan_id"
)


class Forger:
    """Changes a database behind the store's back, as carefully as somebody who has read docs/reference/event-log.md."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set_row(self, proposal_id: str, **columns: Any) -> None:
        """Columns of a proposal's row."""
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        await self._connection.execute(
            text(f"UPDATE proposals SET {assignments} WHERE id = :id"), {**columns, "id": proposal_id}
        )

    async def append(
        self,
        proposal_id: str,
        kind: str,
        actor: str,
        change: Callable[[proposal_pb2.Proposal], None],
        via: str = "",
        *,
        in_place_of: int = 0,
    ) -> None:
        """One more event of a proposal, with its next version as `change` makes it, and the head moved on.
        `in_place_of`: the revision of another event that gives way; the head stays where it is."""
        events = await self._events()
        last = next(event for event in reversed(events) if event.entity_id == proposal_id)
        if in_place_of:
            await self._connection.execute(text("DELETE FROM events WHERE revision = :at"), {"at": in_place_of})
            events = events[: in_place_of - 1]
        snapshot = proposal_pb2.Proposal.FromString(last.snapshot)
        snapshot.version = last.version + 1
        snapshot.updated_by = actor
        change(snapshot)
        event = last._replace(
            revision=events[-1].revision + 1,
            version=snapshot.version,
            kind=kind,
            actor=actor,
            via=via,
            comment="",
            snapshot=snapshot.SerializeToString(),
            prev_hash=events[-1].hash,
        )
        event = event._replace(hash=event_hash(event))
        values = {**event._asdict(), "entity_type": int(event.entity_type), "authenticated": event.authenticated}
        names = ", ".join(values)
        await self._connection.execute(
            text(f"INSERT INTO events ({names}, method) VALUES ({', '.join(f':{name}' for name in values)}, '')"),
            values,
        )
        if not in_place_of:
            await self._head(event)

    async def execute(self, statement: str) -> None:
        """Any statement."""
        await self._connection.execute(text(statement))

    async def rewrite(
        self, proposal_id: str, version: int, change: Callable[[proposal_pb2.Proposal], None], **fields: Any
    ) -> None:
        """One event of a proposal as it should have been, and every hash from there on made again."""
        previous = GENESIS_HASH
        for event in await self._events():
            if (event.entity_id, event.version) == (proposal_id, version):
                snapshot = proposal_pb2.Proposal.FromString(event.snapshot)
                change(snapshot)
                event = event._replace(snapshot=snapshot.SerializeToString(), **fields)
            event = event._replace(prev_hash=previous)
            event = event._replace(hash=event_hash(event))
            previous = event.hash
            await self._connection.execute(
                text(
                    "UPDATE events SET kind = :kind, actor = :actor, via = :via, snapshot = :snapshot, "
                    "prev_hash = :prev_hash, hash = :hash WHERE revision = :revision"
                ),
                {
                    name: getattr(event, name)
                    for name in ("kind", "actor", "via", "snapshot", "prev_hash", "hash", "revision")
                },
            )
            await self._head(event)

    async def agree(self, proposal_id: str) -> None:
        """The proposal's row as its last event has it."""
        last = next(event for event in reversed(await self._events()) if event.entity_id == proposal_id)
        said = proposal_pb2.Proposal.FromString(last.snapshot)
        decision = decision_from_proto(said.decision, "decision", stored=True)
        await self.set_row(
            proposal_id,
            version=said.version,
            state=proposal_pb2.ProposalState.Name(said.state).removeprefix("PROPOSAL_STATE_"),
            required_approvals=said.required_approvals,
            reviewer_role=said.reviewer_role,
            decision=OPTIONAL_DECISION.process_bind_param(decision, self._connection.dialect),
            approvals=json.dumps(
                [
                    [
                        each.reviewer,
                        each.version,
                        each.args_digest,
                        each.comment,
                        each.create_time.ToMicroseconds(),
                        list(each.roles),
                        each.break_glass,
                    ]
                    for each in said.approvals
                ]
            ),
            args_json=json_from_struct(said.action_args, "args"),
            updated_by=said.updated_by,
        )

    async def _events(self) -> list[Event]:
        rows = await self._connection.execute(text(f"SELECT {_HASHED} FROM events ORDER BY revision"))
        return [Event(*row)._replace(entity_type=EntityType(row[1]), authenticated=bool(row[6])) for row in rows]

    async def _head(self, event: Event) -> None:
        await self._connection.execute(
            text("UPDATE log_head SET revision = :revision, hash = :hash"),
            {"revision": event.revision, "hash": event.hash},
        )


async def forge(database_url: str, *acts: Callable[[Forger], Any], with_key: bool = True) -> None:
    """Each act in turn, in one transaction. `with_key`: the forger can read the log's key beside a SQLite file, too."""
    url = make_url(database_url)
    driver = "sqlite+aiosqlite" if url.get_backend_name() == "sqlite" else "postgresql+asyncpg"
    engine = create_async_engine(url.set(drivername=driver))
    async with engine.begin() as connection:
        forger = Forger(connection)
        for act in acts:
            await act(forger)
        if with_key and (key := read_key(key_path(database_url, None))):
            await reseal(connection, key)
    await engine.dispose()
