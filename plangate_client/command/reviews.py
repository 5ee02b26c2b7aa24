"""`plangate proposals`, `show`, `approve`, `reject`, `cancel` and `revise`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import MAX_INT64, IdArgument, JsonOption, RequestIdOption, checked_request_id
from plangate_client.command.session import Session, run_async, session_of
from plangate_core.contract.limits import MAX_PRIORITY

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from plangate.store.v1 import proposal_pb2

VersionOption = Annotated[
    int,
    typer.Option(
        "--version",
        metavar="N",
        min=0,
        max=MAX_INT64,
        show_default=False,
        help="Only if it is still at this version.",
    ),
]
# Of what happened to one thing; a long execution renews its lease often.
_SHOWN_EVENTS = 100


def proposals(
    context: typer.Context,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", help="PENDING, APPROVED, ...; may be repeated.")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", "-f", help='For example: action_name = "delete_file" AND labels.team = "ops"')
    ] = "",
    order_by: Annotated[str, typer.Option("--order-by", help='For example "priority desc".')] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 50,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also those that were deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List proposals, newest first."""
    session = session_of(context)
    # AND binds weakest: the filter needs no parentheses. First, so that positions in errors are its own.
    terms = [filter] if filter.strip() else []
    if state:
        terms.append(f"({' OR '.join(f'state = {name.upper()}' for name in state)})")

    async def listed() -> list[proposal_pb2.Proposal]:
        found: list[proposal_pb2.Proposal] = []
        async with session.store() as store:
            pages = store.proposals.list_all(
                filter=" AND ".join(terms), order_by=order_by, show_deleted=deleted, page_size=min(limit, 1000)
            )
            async for proposal in pages:
                found.append(proposal)
                if len(found) == limit:
                    break
        return found

    found = run_async(context, listed())
    if as_json:
        from plangate_client.command.output.json_output import print_messages

        print_messages("proposals", found)
        return
    from plangate_client.command.output.console import answers
    from plangate_client.command.output.views import proposals_table

    answers().print(proposals_table(found) if found else "no proposals", crop=False)


def show(context: typer.Context, identifier: IdArgument, as_json: JsonOption = False) -> None:
    """Show a proposal or a plan, and what happened to it."""
    session = session_of(context)

    async def looked_up() -> Any:
        from plangate.store.v1 import event_pb2

        from plangate_client.command.lookup import find_proposal_or_plan

        async with session.store() as store:
            thing = await find_proposal_or_plan(store, identifier)
            if as_json:
                return thing, []
            newest = store.events.list_all(
                filter=f'entity_id = "{thing.id}"',
                order_by="revision desc",
                view=event_pb2.EVENT_VIEW_BASIC,
                page_size=_SHOWN_EVENTS + 1,
            )
            # One more than is shown tells whether there are more.
            events: list[event_pb2.Event] = []
            async for event in newest:
                events.append(event)
                if len(events) > _SHOWN_EVENTS:
                    break
            return thing, events[::-1]

    thing, events = run_async(context, looked_up())
    if as_json:
        _print_json(thing)
        return
    from plangate.plan.v1 import plan_pb2

    from plangate_client.command.output.console import answers
    from plangate_client.command.output.views import events_table, plan_view, proposal_view

    console = answers()
    console.print(plan_view(thing) if isinstance(thing, plan_pb2.Plan) else proposal_view(thing), crop=False)
    console.print()
    if len(events) > _SHOWN_EVENTS:
        more = f"""plangate log --limit 1000 --filter 'entity_id = "{thing.id}"'"""
        console.print(f"the last {_SHOWN_EVENTS} events; for more: {more}", soft_wrap=True)
    console.print(events_table(events[-_SHOWN_EVENTS:]), crop=False)


def approve(
    context: typer.Context,
    identifier: IdArgument,
    version: VersionOption = 0,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Goes to the log.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say yes to exactly what is shown: this version with these arguments."""
    session = session_of(context)
    repeated = checked_request_id(request_id)

    async def approved() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await _seen(session, store, identifier, version)
            asking = not yes and _somebody_can_answer()
            if asking or not as_json:
                # Who is asked must see it, also where the answer goes to a file or to a program.
                _show(seen, aside=asking and (as_json or not sys.stdout.isatty()))
            if asking and not typer.confirm("Approve exactly this?", err=True):
                raise CommandFailed("nothing was approved")
            return await store.proposals.approve(
                seen.id,
                expected_version=seen.version,
                args_digest=seen.args_digest,
                comment=comment,
                request_id=repeated,
            )

    _tell(run_async(context, approved()), as_json)


def reject(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; goes to the log and to the requester.")],
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no; final."""
    session = session_of(context)
    repeated = checked_request_id(request_id)

    async def rejected() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await _seen(session, store, identifier, version)
            return await store.proposals.reject(
                seen.id, expected_version=seen.version, reason=reason, request_id=repeated
            )

    _tell(run_async(context, rejected()), as_json)


def cancel(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Goes to the log.")] = "",
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a proposal, or a plan with all its proposals; what is running is asked to stop."""
    session = session_of(context)
    repeated = checked_request_id(request_id)

    async def cancelled() -> Any:
        from plangate.plan.v1 import plan_pb2

        from plangate_client.command.lookup import find_proposal_or_plan

        async with session.store() as store:
            thing = await find_proposal_or_plan(store, identifier)
            rpc = store.plans.cancel if isinstance(thing, plan_pb2.Plan) else store.proposals.cancel
            return await rpc(thing.id, reason=reason, expected_version=version, request_id=repeated)

    _tell(run_async(context, cancelled()), as_json)


def revise(
    context: typer.Context,
    identifier: IdArgument,
    args: Annotated[
        str | None, typer.Option("--args", metavar="JSON", help="The new arguments, whole; - reads standard input.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="The new description.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-MAX_PRIORITY, max=MAX_PRIORITY, help="The new priority.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Goes to the log.")] = "",
    version: VersionOption = 0,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check and govern only.")] = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a proposal says before it is approved: checked and governed again, approvals are void."""
    if args is None and description is None and priority is None:
        raise CommandFailed("nothing to change: give --args, --description or --priority", ExitStatus.USAGE)
    session = session_of(context)
    repeated = checked_request_id(request_id)

    async def revised() -> proposal_pb2.Proposal:
        async with session.store() as store, session.planner() as planner:
            seen = await _seen(session, store, identifier, version)
            return await planner.revise_proposal(
                seen.id,
                expected_version=seen.version,
                action_args=None if args is None else _arguments(sys.stdin.read() if args == "-" else args),
                description=description,
                priority=priority,
                comment=comment,
                request_id=repeated,
                validate_only=validate_only,
            )

    _tell(run_async(context, revised()), as_json)


async def _seen(session: Session, store: Any, identifier: str, version: int) -> proposal_pb2.Proposal:
    """The proposal as it is now, if it still has the version that the caller insists on."""
    from plangate_client.command.lookup import find_proposal

    seen = await find_proposal(store, identifier)
    if version and seen.version != version:
        message = f"the proposal is at version {seen.version} now, not {version}: look at it again with `plangate show`"
        raise CommandFailed(message, ExitStatus.CONFLICT)
    return seen


def _somebody_can_answer() -> bool:
    """Whether a person sits there; scripts have decided already."""
    return sys.stdin.isatty() and (sys.stderr.isatty() or sys.stdout.isatty())


def _arguments(text: str) -> Any:
    from plangate_core.contract.struct_codec import StructRefused, json_to_struct

    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise CommandFailed("--args: must be a JSON object", ExitStatus.USAGE)
        return json_to_struct(value, "args")
    except (ValueError, RecursionError, StructRefused) as error:
        raise CommandFailed(f"--args: {error}", ExitStatus.USAGE) from error


def _show(proposal: proposal_pb2.Proposal, *, aside: bool) -> None:
    """Print it: as an answer, or aside, on standard error."""
    from plangate_client.command.output.console import answers, remarks
    from plangate_client.command.output.views import proposal_view

    (remarks() if aside else answers()).print(proposal_view(proposal))


def _tell(changed: Any, as_json: bool) -> None:
    if as_json:
        _print_json(changed)
        return
    from plangate.plan.v1 import plan_pb2

    from plangate_client.command.output.console import answers
    from plangate_client.command.output.text import short_id
    from plangate_client.command.output.views import plan_state, proposal_state

    state = plan_state(changed) if isinstance(changed, plan_pb2.Plan) else proposal_state(changed)
    line = f"{short_id(changed.id)} is {state}, version {changed.version}"
    if isinstance(changed, plan_pb2.Plan):
        answers().print(line)
        return
    if state == "PENDING" and changed.required_approvals:
        line += f", {len(changed.approvals)} of {changed.required_approvals} approvals"
    if changed.cancel_requested and state == "EXECUTING":
        line += "; its executor is asked to stop"
    answers().print(line)


def _print_json(message: Message) -> None:
    from plangate_client.command.output.json_output import print_message

    print_message(message)
