"""`plangate log`."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.exports import destination, event_row, export_messages, is_table
from plangate_client.command.options import ForceOption, JsonOption, whole_number
from plangate_client.command.output.console import stderr, stdout
from plangate_client.command.output.json_output import message_json, print_json, print_message
from plangate_client.command.session import Session, all_of, run_async, session_of

if TYPE_CHECKING:
    from plangate.store.v1 import event_pb2

    from plangate_client.client import StoreClient


def log(
    context: typer.Context,
    filter: Annotated[
        str,
        typer.Option(
            "--filter", "-f", metavar="FILTER", help='For example: actor = "alice" AND kind = "proposal.approved"'
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", parser=whole_number(1), help="The last so many.")
    ] = 50,
    start: Annotated[
        int,
        typer.Option(
            "--from",
            metavar="REVISION",
            parser=whole_number(0),
            show_default=False,
            help="From this revision on.",
        ),
    ] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens; Ctrl-C ends it.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write all of it: FILE.csv, FILE.json, else the JSON lines of verify_log.py; - is standard output.",
        ),
    ] = None,
    force: ForceOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Have the store check its chain of hashes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the log: who did what, when, and to which version."""
    if sum((follow, export is not None, verify)) > 1:
        raise CommandFailed("--follow, --export and --verify exclude each other", ExitStatus.USAGE)
    session = session_of(context)
    since = f"revision >= {start}" if start else ""
    if verify:
        run_async(context, _verify(session, start, as_json))
    elif export is not None:
        run_async(context, _export(session, all_of(filter, since), export, force))
    else:
        run_async(context, _show(session, filter, since, limit, start, follow, as_json))


async def _verify(session: Session, start: int, as_json: bool) -> None:
    async with session.store() as store:
        verdict = await store.events.verify(start_revision=start)
    if as_json:
        print_message(verdict)
    elif verdict.valid:
        print(f"{verdict.events_checked} events, chain whole, head {verdict.head_revision} {verdict.head_hash.hex()}")
    if not verdict.valid:
        raise CommandFailed(f"the log is damaged at revision {verdict.first_bad_revision}: {verdict.problem}")


async def _export(session: Session, filter: str, target: Path, force: bool) -> None:
    from plangate.store.v1 import event_pb2

    async with session.store() as store:
        if is_table(target):
            events = store.events.list_all(filter=filter, view=event_pb2.EVENT_VIEW_RESOURCE)
            await export_messages(events, target, name="events", row=event_row, empty=event_pb2.Event(), force=force)
            return
        count = 0
        with destination(target, force=force) as file:
            async for event in store.events.list_all(filter=filter, view=event_pb2.EVENT_VIEW_FULL):
                file.write(_export_line(event) + "\n")
                count += 1
    if str(target) != "-":
        print(f"{count} events written to {target}")


def _export_line(event: event_pb2.Event) -> str:
    """What docs/verify_log.py reads: hashes in hex, the snapshot in base64, the time in microseconds."""
    return json.dumps(
        {
            "revision": event.revision,
            "entity_type": event.entity_type,
            "entity_id": event.entity_id,
            "version": event.version,
            "kind": event.kind,
            "actor": event.actor,
            "authenticated": event.authenticated,
            "via": event.via,
            "time": event.time.ToMicroseconds(),
            "request_id": event.request_id,
            "comment": event.comment,
            "snapshot": base64.b64encode(event.snapshot).decode(),
            "prev_hash": event.prev_hash.hex(),
            "hash": event.hash.hex(),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


async def _show(session: Session, filter: str, since: str, limit: int, start: int, follow: bool, as_json: bool) -> None:
    from plangate.store.v1 import event_pb2

    from plangate_client.command.output.tables import CLAIMED_NOTE, is_claimed

    async with session.store() as store:
        order = "revision" if start else "revision desc"
        events: list[event_pb2.Event] = []
        view = event_pb2.EVENT_VIEW_RESOURCE if as_json else event_pb2.EVENT_VIEW_BASIC
        pages = store.events.list_all(
            filter=all_of(filter, since), order_by=order, view=view, page_size=min(limit, 500)
        )
        async for event in pages:
            events.append(event)
            if len(events) == limit and not (follow and start):
                break
        if not start:
            events.reverse()
        seen = events[-1].revision if events else max(0, start - 1)
        if follow and not events and not start:
            # Nothing matched so far: watch from the head on, without what is there already.
            head = await store.events.list_page(order_by="revision desc", page_size=1, view=event_pb2.EVENT_VIEW_BASIC)
            seen = head.events[0].revision if head.events else 0
        if events:
            _print(session, events, as_json)
        elif not (follow or as_json):
            print("no events")
        if follow:
            await _follow(session, store, filter, seen, view, as_json, header=not events)
        if any(map(is_claimed, events)) and not as_json and stdout().is_terminal:
            stdout().print(CLAIMED_NOTE, style="dim")


async def _follow(
    session: Session, store: StoreClient, filter: str, seen: int, view: Any, as_json: bool, *, header: bool
) -> None:
    from plangate_client.errors import DeadlineExceeded, Exhausted, Unavailable, WatchTooSlow

    pause_seconds = 0.5
    while True:
        try:
            async for update in store.events.watch(start_revision=seen + 1, filter=filter, view=view):
                pause_seconds = 0.5
                if update.HasField("event"):
                    _print(session, [update.event], as_json, header=header)
                    header = False
                    seen = update.event.revision
                else:
                    seen = update.progress.revision
        except WatchTooSlow:
            continue
        except (Unavailable, Exhausted, DeadlineExceeded) as error:
            pause_seconds = max(pause_seconds, error.retry_after_seconds or 0)
            what = "cannot be reached" if isinstance(error, Unavailable) else "is busy"
            stderr().print(f"the store {what}; trying again in {pause_seconds:g} s", style="dim")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, 10.0)


def _print(session: Session, events: list[event_pb2.Event], as_json: bool, *, header: bool = True) -> None:
    """Events as a table, or as JSON lines."""
    if as_json:
        for event in events:
            print_json(message_json(event), indent=None)
        return
    from plangate_client.command.output.tables import events_table

    table = events_table(events, times=session.times)
    table.show_header = header
    stdout().print(table, crop=False)
