"""`plangate inbox`: what waits for one person, as a list or as the review page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from plangate_client.command.options import JsonOption, LimitOption
from plangate_client.command.output.console import stdout
from plangate_client.command.output.json_output import print_messages
from plangate_client.command.servers.delegated import run_module
from plangate_client.command.session import Session, environment_with, first, run_async, session_of
from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from plangate.store.v1 import proposal_pb2

    from plangate_client.client import StoreClient

# Changes that come together make one new list.
_WATCH_PAUSE_SECONDS = 0.2

group = typer.Typer(name="inbox", invoke_without_command=True, rich_markup_mode=None)


@group.callback()
def waiting(
    context: typer.Context,
    limit: LimitOption = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and print it anew when it changes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what waits for your decision, oldest first; `serve` shows it as a page."""
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)
    run_async(context, _inbox(session, limit, watch, as_json))


async def _inbox(session: Session, limit: int, watch: bool, as_json: bool) -> None:
    async with session.store() as store:
        identity = (await store.who_am_i()).identity
        shown: list[tuple[str, int]] | None = None
        async for _ in _changes(store, watch):
            found = await first(
                store.proposals.list_all(
                    filter="waiting_for_me = true", order_by="create_time", page_size=min(limit, 500)
                ),
                limit,
            )
            now = [(proposal.id, proposal.version) for proposal in found]
            if now != shown:
                _print_inbox(session, identity, found, as_json, again=shown is not None)
            shown = now


async def _changes(store: StoreClient, watch: bool) -> AsyncIterator[None]:
    """Yields at once, then, to `watch`, whenever a proposal may have changed. Goes on when the store was away."""
    if not watch:
        yield None
        return
    from plangate.store.v1 import event_pb2

    from plangate_client.errors import Unavailable, WatchTooSlow

    while True:
        head = await store.events.list_page(order_by="revision desc", page_size=1, view=event_pb2.EVENT_VIEW_BASIC)
        start = head.events[0].revision + 1 if head.events else 1
        yield None
        try:
            async for update in store.events.watch(start_revision=start, view=event_pb2.EVENT_VIEW_BASIC):
                if update.HasField("event"):
                    await asyncio.sleep(_WATCH_PAUSE_SECONDS)
                    yield None
        except (Unavailable, WatchTooSlow):
            await asyncio.sleep(1.0)


def _print_inbox(
    session: Session, identity: str, found: list[proposal_pb2.Proposal], as_json: bool, *, again: bool
) -> None:
    if as_json:
        print_messages("proposals", found)
        return
    from plangate_client.command.output.tables import inbox_table

    console = stdout()
    if again:
        console.clear() if console.is_terminal else console.print()
    if not found:
        console.print(f"nothing waits for {visible(identity)}")
        return
    console.print(inbox_table(found, times=session.times), crop=False)
    if console.is_terminal:
        console.print("\nplangate approve ID, or plangate reject ID --reason TEXT, shows all of it first", style="dim")


@group.command()
def serve(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where the page listens. PLANGATE_INBOX_LISTEN"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="The address that people use, for links and proxies. PLANGATE_INBOX_URL"
        ),
    ] = None,
) -> None:
    """Serve the review page until Ctrl-C or SIGTERM, in front of servers that run already."""
    settings = session_of(context).settings
    environment = environment_with(
        {
            "PLANGATE_STORE_TARGET": settings.store_target,
            "PLANGATE_PLANNER_TARGET": settings.planner_target,
            "PLANGATE_TLS": "true" if settings.tls else None,
            "PLANGATE_TLS_CA_FILE": settings.tls_ca_file,
            "PLANGATE_INBOX_LISTEN": listen,
            "PLANGATE_INBOX_URL": url,
        }
    )
    run_module("plangate_inbox", [], environment)
