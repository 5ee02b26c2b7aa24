"""`plangate proposals`, `plans`, `show` and `whoami`: what there is, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exports import export_messages, proposal_row
from plangate_client.command.options import ForceOption, IdArgument, JsonOption, LimitOption
from plangate_client.command.output.console import stdout
from plangate_client.command.output.json_output import print_message, print_messages
from plangate_client.command.review.completion import complete_state
from plangate_client.command.session import all_of, first, run_async, session_of
from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from plangate.plan.v1 import plan_pb2
    from plangate.store.v1 import proposal_pb2

# Of what happened to one thing; a long execution renews its lease often.
_SHOWN_EVENTS = 100

FilterOption = Annotated[
    str,
    typer.Option(
        "--filter", "-f", metavar="FILTER", help='For example: action_name = "delete_file" AND labels.team = "ops"'
    ),
]


def proposals(
    context: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help="PENDING, APPROVED, ...; may be repeated.",
            autocompletion=complete_state,
        ),
    ] = None,
    filter: FilterOption = "",
    order_by: Annotated[str, typer.Option("--order-by", metavar="FIELD", help='For example "priority desc".')] = "",
    limit: LimitOption = 50,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also those that were deleted.")] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write all of them, whatever the limit: FILE.csv or FILE.json."),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """List proposals, newest first."""
    session = session_of(context)
    states = f"({' OR '.join(f'state = {name.upper()}' for name in state)})" if state else ""

    async def listed() -> list[proposal_pb2.Proposal]:
        from plangate.store.v1 import proposal_pb2

        async with session.store() as store:
            pages = store.proposals.list_all(
                filter=all_of(filter, states),
                order_by=order_by,
                show_deleted=deleted,
                page_size=1000 if export else min(limit, 1000),
            )
            if export is None:
                return await first(pages, limit)
            await export_messages(
                pages, export, name="proposals", row=proposal_row, empty=proposal_pb2.Proposal(), force=force
            )
            return []

    found = run_async(context, listed())
    if export is not None:
        return
    if as_json:
        print_messages("proposals", found)
        return
    from plangate_client.command.output.tables import proposals_table

    stdout().print(proposals_table(found, times=session.times) if found else "no proposals", crop=False)


def plans(
    context: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own requests.")] = False,
    filter: FilterOption = "",
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List plans, newest first."""
    session = session_of(context)

    async def listed() -> list[plan_pb2.Plan]:
        async with session.store() as store:
            own = f'created_by = "{(await store.who_am_i()).identity}"' if mine else ""
            return await first(store.plans.list_all(filter=all_of(filter, own), page_size=min(limit, 500)), limit)

    found = run_async(context, listed())
    if as_json:
        print_messages("plans", found)
        return
    from plangate_client.command.output.tables import plans_table

    stdout().print(plans_table(found, times=session.times) if found else "no plans", crop=False)


def show(context: typer.Context, identifier: IdArgument, as_json: JsonOption = False) -> None:
    """Show a proposal, or a plan with what became of every step, and what happened to it."""
    session = session_of(context)

    async def looked_up() -> tuple[Any, Any, list[Any]]:
        from plangate.plan.v1 import plan_pb2
        from plangate.store.v1 import event_pb2

        from plangate_client.command.output.plan_view import plan_view
        from plangate_client.command.output.proposal_view import proposal_view
        from plangate_client.command.review.lookup import context_of, find_proposal_or_plan, proposals_of

        async with session.store() as store:
            thing = await find_proposal_or_plan(store, identifier)
            if as_json:
                return thing, None, []
            if isinstance(thing, plan_pb2.Plan):
                view = plan_view(thing, await proposals_of(store, thing.id), times=session.times)
            else:
                view = proposal_view(thing, await context_of(store, thing), times=session.times)
            newest = store.events.list_all(
                filter=f'entity_id = "{thing.id}"',
                order_by="revision desc",
                page_size=_SHOWN_EVENTS + 1,
                view=event_pb2.EVENT_VIEW_BASIC,
            )
            # One more than is shown tells whether there are more.
            return thing, view, (await first(newest, _SHOWN_EVENTS + 1))[::-1]

    thing, view, events = run_async(context, looked_up())
    if as_json:
        print_message(thing)
        return
    from plangate_client.command.output.tables import CLAIMED_NOTE, events_table, is_claimed

    console = stdout()
    console.print(view, crop=False)
    console.print()
    if len(events) > _SHOWN_EVENTS:
        more = f"""plangate log --limit 1000 --filter 'entity_id = "{thing.id}"'"""
        console.print(f"the last {_SHOWN_EVENTS} events; for more: {more}", soft_wrap=True)
    events = events[-_SHOWN_EVENTS:]
    console.print(events_table(events, times=session.times), crop=False)
    if any(map(is_claimed, events)):
        console.print(CLAIMED_NOTE, style="dim")


def whoami(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show who the store takes you for, and which roles you have."""
    session = session_of(context)

    async def looked_up() -> Any:
        async with session.store() as store:
            return await store.who_am_i()

    answer = run_async(context, looked_up())
    if as_json:
        print_message(answer)
        return
    roles = ", ".join(answer.roles) or "none"
    proof = "proved by a token" if answer.authenticated else "claimed: the store does not authenticate"
    stdout().print(visible(f"{answer.identity}  ({proof})\nroles: {roles}", newlines=True))
