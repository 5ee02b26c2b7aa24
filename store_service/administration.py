"""What an operator does to a store's database beside serving it: migrate, copy, check, seal, export.

Check and export only read, and may run while a server serves the same database.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from store_service.database.database import ReadSessions, open_database
from store_service.database.maintenance.copying import CopyRefused, Progress, copied
from store_service.database.maintenance.offline import (
    head_is_readable,
    integrity_problems,
    known_schema_revision,
    lost_resources,
    miscounted_proposals,
    misplaced_dependencies,
    missing_tables_and_indexes,
    open_for_reading,
    resources,
    schema_revision,
)
from store_service.database.maintenance.sealing import key_path, locked_head, make_key, read_key, reseal
from store_service.database.reader import Reader
from store_service.domain.errors import StartRefused
from store_service.domain.events import Event, LogHead
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal
from store_service.domain.seals import LogKey
from store_service.event_log.verification import Finding, verify_log
from store_service.messages.encoding import is_snapshot_of
from store_service.messages.log_entries import entry_of

_EVENTS_AT_ONCE = 500
_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Health:
    """What `check` found. No problems: everything fits."""

    schema: str
    head_revision: int
    events_checked: int
    resources_checked: int
    problems: tuple[str, ...]
    seal_checked: bool = False


async def migrate(url: str) -> str:
    """Bring the schema up to date; returns its revision. Raises StartRefused, DatabaseUnavailable."""
    database = await open_database(url)
    await database.close()
    return known_schema_revision()


async def check(url: str, planner_identity: str = "planner", log_key_file: Path | None = None) -> Health:
    """Check file, schema and hashes, that the rules allow every entry of the log, and that every row says what the log
    says. With the log's key (see `key_path`) also that all entries are sealed with it.

    Raises StartRefused, DatabaseUnavailable.
    """
    log_key = read_key(key_path(url, log_key_file))
    async with open_for_reading(url) as sessions:
        return await _health(sessions, planner_identity, log_key)


async def seal(url: str, planner_identity: str = "planner", log_key_file: Path | None = None) -> tuple[Health, str]:
    """Seal the whole log with the key in the file, or with a new one when there is no file, whatever seals it has.

    Returns what `check` says of the database, and the id of the key; with problems, nothing was sealed and the id is
    empty. Raises StartRefused, DatabaseUnavailable.
    """
    path = key_path(url, log_key_file)
    if path is None:
        raise StartRefused("PLANGATE_LOG_KEY_FILE names no file for the key")
    database = await open_database(url)
    try:
        async with database.transaction() as connection:
            await locked_head(connection)
            health = await _health(ReadSessions(connection), planner_identity, None)
            if health.problems:
                return health, ""
            key = read_key(path) or make_key(path)
            await reseal(connection, key)
        return health, key.key_id
    finally:
        await database.close()


async def copy(
    source_url: str,
    target_url: str,
    planner_identity: str = "planner",
    log_key_file: Path | None = None,
    progress: Progress = lambda table_name, rows: None,
) -> Health:
    """Copy the database of a stopped store to another one that holds nothing yet; returns what `check` says of the
    copy, which has no problems.

    Raises CopyRefused, StartRefused, DatabaseUnavailable. The target has a store's schema then, perhaps, and no rows.
    """
    async with open_for_reading(source_url) as sessions, sessions.read() as session:
        schema = await schema_revision(session)
    if schema != known_schema_revision():
        raise CopyRefused(
            f"the source's schema is {schema}, this version knows {known_schema_revision()}: plangate store migrate "
            "brings it up to date"
        )
    log_key = read_key(key_path(source_url, log_key_file))
    target_key = key_path(target_url, log_key_file)
    async with copied(source_url, target_url, log_key, target_key, progress) as copy_sessions:
        health = await _health(copy_sessions, planner_identity, log_key)
        if health.problems:
            raise CopyRefused(f"nothing was copied, as the copy would not be sound: {health.problems[0]}")
    return health


async def _health(sessions: ReadSessions, planner_identity: str, log_key: LogKey | None) -> Health:
    async with sessions.read() as session:
        schema = await schema_revision(session)
        problems = [f"the file: {problem}" for problem in await integrity_problems(session)]
        if schema != known_schema_revision():
            problems.append(f"the schema is {schema}, this version knows {known_schema_revision()}")
            return Health(schema, 0, 0, 0, tuple(problems))
        tables, indexes = await missing_tables_and_indexes(session)
        if tables:
            problems.append(f"the schema lacks the tables {', '.join(tables)}")
            return Health(schema, 0, 0, 0, tuple(problems))
        if indexes:
            problems.append(f"the schema lacks the indexes {', '.join(indexes)}")
        finding = Finding(0, LogHead())
        if await head_is_readable(session):
            finding = await verify_log(
                Reader(sessions), read_entry=entry_of, planner_identity=planner_identity, log_key=log_key
            )
        else:
            problems.append("the head row of the log cannot be read, so the log was not checked")
        if finding.problem:
            problems.append(f"the log at revision {finding.first_bad_revision}: {finding.problem}")
        count = 0
        async for found in resources(session):
            count += 1
            if found.snapshot is None:
                problems.append(f"{found.id} version {found.version}: the log does not know it")
            elif found.entity is None:
                problems.append(f"{found.id} version {found.version}: its row cannot be read")
            elif problem := _difference(found.snapshot, found.entity):
                problems.append(f"{found.id} version {found.version}: {problem}")
            if len(problems) >= _PROBLEMS_SHOWN:
                problems.append(f"and perhaps more: the check of plans and proposals stopped here, after {count}")
                break
        for resource_id, version in await lost_resources(session, max(0, _PROBLEMS_SHOWN - len(problems))):
            problems.append(f"{resource_id} version {version} is the log's last word of it, and no row says so")
        if not problems:
            for proposal_id, other_id in await misplaced_dependencies(session, _PROBLEMS_SHOWN):
                problems.append(f"{proposal_id}: its row and the table of dependencies differ over {other_id}")
            for proposal_id in await miscounted_proposals(session, _PROBLEMS_SHOWN):
                problems.append(f"{proposal_id}: its row's count of unfinished dependencies is wrong")
        seal_checked = log_key is not None
        return Health(schema, finding.head.revision, finding.events_checked, count, tuple(problems), seal_checked)


async def export(url: str, output: TextIO) -> int:
    """Write the log as JSON lines; returns how many. Raises StartRefused, DatabaseUnavailable."""
    count = 0
    async with open_for_reading(url) as sessions:
        async with sessions.read() as session:
            await schema_revision(session)
        async for event in _all_events(Reader(sessions)):
            output.write(event_to_json(event) + "\n")
            count += 1
    return count


def event_to_json(event: Event) -> str:
    """One line of an export: docs/verify_log.py reads it. Hashes are hex, the snapshot is base64, time is micros."""
    return json.dumps(
        {
            "revision": event.revision,
            "entity_type": event.entity_type.value,
            "entity_id": event.entity_id,
            "version": event.version,
            "kind": event.kind,
            "actor": event.actor,
            "authenticated": event.authenticated,
            "via": event.via,
            "time": event.time,
            "request_id": event.request_id,
            "comment": event.comment,
            "snapshot": base64.b64encode(event.snapshot).decode(),
            "prev_hash": event.prev_hash.hex(),
            "hash": event.hash.hex(),
            "seal": (event.seal or b"").hex(),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _difference(snapshot: bytes, entity: Plan | Proposal) -> str:
    """What is wrong with a row or with what the log says of it; empty when they say the same."""
    try:
        return "" if is_snapshot_of(snapshot, entity) else "its row is not what the log says"
    except Exception:
        # protobuf and JSON raise many types for values that were changed by hand.
        return "its row cannot be read, or what the log says"


async def _all_events(reader: Reader) -> AsyncIterator[Event]:
    revision = 1
    while events := await reader.events_from(revision, _EVENTS_AT_ONCE):
        for event in events:
            yield event
        revision = events[-1].revision + 1
