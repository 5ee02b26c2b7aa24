"""`plangate approve`, `withdraw`, `reject`, `cancel` and `revise`: they show what is decided about, and ask."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import (
    IdArgument,
    JsonOption,
    RequestIdOption,
    VersionOption,
    checked_request_id,
    whole_number,
)
from plangate_client.command.review.confirmation import YesOption, begin_change, confirm, require_answer
from plangate_client.command.session import Session, run_async, session_of

if TYPE_CHECKING:
    from plangate.store.v1 import proposal_pb2


def approve(
    context: typer.Context,
    identifier: IdArgument,
    version: VersionOption = 0,
    comment: Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Goes to the log.")] = "",
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve exactly what is shown: this version with these arguments."""
    session, repeated = begin_change(context, request_id, yes=yes)

    async def approved() -> proposal_pb2.Proposal:
        from plangate_client.command.review.related import reviewer_of
        from plangate_client.outlook.dependencies import after_approval

        async with session.store() as store:
            seen = await seen_version(store, identifier, version)
            siblings = await show_seen(session, store, seen, yes=yes, as_json=as_json)
            if not as_json or not yes:
                _remark(after_approval(seen, siblings, await reviewer_of(store)))
            confirm("Approve exactly this?", yes=yes)
            return await store.proposals.approve(
                seen.id,
                expected_version=seen.version,
                args_digest=seen.args_digest,
                comment=comment,
                request_id=repeated,
            )

    print_changed(run_async(context, approved()), as_json)


def withdraw(
    context: typer.Context,
    identifier: IdArgument,
    comment: Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Goes to the log.")] = "",
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take your own approval back, while the proposal waits for more of them."""
    session, repeated = begin_change(context, request_id, yes=yes)

    async def withdrawn() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await seen_version(store, identifier, version)
            await show_seen(session, store, seen, yes=yes, as_json=as_json)
            confirm("Take your approval back?", yes=yes)
            return await store.proposals.withdraw_approval(
                seen.id, expected_version=seen.version, comment=comment, request_id=repeated
            )

    print_changed(run_async(context, withdrawn()), as_json)


def reject(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[
        str, typer.Option("--reason", "-m", metavar="TEXT", help="Why; goes to the log and to the requester.")
    ],
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no; final."""
    session, repeated = begin_change(context, request_id, yes=yes)

    async def rejected() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await seen_version(store, identifier, version)
            siblings = await show_seen(session, store, seen, yes=yes, as_json=as_json)
            fallen = await _consequences(store, seen, siblings, reason=reason)
            if fallen and (not as_json or not yes):
                _remark(f"With it: {fallen}")
            confirm("Reject it? This is final.", yes=yes)
            return await store.proposals.reject(
                seen.id, expected_version=seen.version, reason=reason, request_id=repeated
            )

    print_changed(run_async(context, rejected()), as_json)


def cancel(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Goes to the log.")] = "",
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a proposal, or a plan with all its proposals; what runs gets a request to stop."""
    session, repeated = begin_change(context, request_id, yes=yes)

    async def cancelled() -> Any:
        from plangate.plan.v1 import plan_pb2

        from plangate_client.command.output.plan_view import plan_view
        from plangate_client.command.output.proposal_view import proposal_state
        from plangate_client.command.review.lookup import find_proposal_or_plan
        from plangate_client.outlook.dependencies import listed, step_name
        from plangate_core.text.printable import visible

        async with session.store() as store:
            thing = await find_proposal_or_plan(store, identifier)
            if not isinstance(thing, plan_pb2.Plan):
                await show_seen(session, store, thing, yes=yes, as_json=as_json)
                tried: Any = await store.proposals.cancel(thing.id, expected_version=version, validate_only=True)
                fallen = [f"{step_name(each)} becomes {proposal_state(each)}" for each in tried.consequences]
                question, rpc = "Cancel it?", store.proposals.cancel
            else:
                if not (as_json and yes):
                    _print_seen(plan_view(thing, times=session.times()), yes=yes, as_json=as_json)
                tried = await store.plans.cancel(thing.id, expected_version=version, validate_only=True)
                fallen = [
                    f"{step_name(each)} {'is asked to stop' if each.cancel_requested else f'becomes {each.state}'}"
                    for each in tried.consequences
                ]
                question, rpc = "Cancel the plan?", store.plans.cancel  # type: ignore[assignment]
            if fallen and (not as_json or not yes):
                _remark(visible(f"With it: {listed(fallen)}."))
            confirm(question, yes=yes)
            return await rpc(thing.id, reason=reason, expected_version=version, request_id=repeated)

    print_changed(run_async(context, cancelled()), as_json)


def revise(
    context: typer.Context,
    identifier: IdArgument,
    args: Annotated[
        str | None, typer.Option("--args", metavar="JSON", help="The new arguments, whole; - reads standard input.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="The new description.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option("--priority", metavar="N", parser=whole_number(-1000, 1000), help="The new priority."),
    ] = None,
    comment: Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Goes to the log.")] = "",
    version: VersionOption = 0,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check and govern only.")] = False,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a proposal says before it is approved.

    It is checked and governed again, and its approvals are void.
    """
    if args is None and description is None and priority is None:
        raise CommandFailed("nothing to change: give --args, --description or --priority", ExitStatus.USAGE)
    session = session_of(context)
    repeated = checked_request_id(request_id)
    if not validate_only:
        require_answer(yes)

    async def revised() -> proposal_pb2.Proposal:
        from plangate_client.command.output.proposal_view import changes_view
        from plangate_client.outlook.difference import changes

        async with session.store() as store, session.planner() as planner:
            seen = await seen_version(store, identifier, version)
            change: dict[str, Any] = {
                "expected_version": seen.version,
                "action_args": None if args is None else _arguments(sys.stdin.read() if args == "-" else args),
                "description": description,
                "priority": priority,
                "comment": comment,
            }
            if validate_only or not yes:
                candidate = await planner.revise_proposal(seen.id, **change, validate_only=True)
                if validate_only:
                    return candidate
                _print_seen(changes_view(changes(seen, candidate)), yes=yes, as_json=as_json)
                confirm("Change it so?", yes=yes)
            return await planner.revise_proposal(seen.id, **change, request_id=repeated)

    print_changed(run_async(context, revised()), as_json)


async def seen_version(store: Any, identifier: str, version: int) -> proposal_pb2.Proposal:
    """The proposal as it is now, if it still has the version that the caller insists on."""
    from plangate_client.command.review.lookup import find_proposal

    seen = await find_proposal(store, identifier)
    if version and seen.version != version:
        message = f"the proposal is at version {seen.version} now, not {version}: look at it again with `plangate show`"
        raise CommandFailed(message, ExitStatus.CONFLICT)
    return seen


async def show_seen(
    session: Session, store: Any, seen: proposal_pb2.Proposal, *, yes: bool, as_json: bool
) -> list[proposal_pb2.Proposal]:
    """Print the proposal with what surrounds it. Returns the proposals of its plan."""
    from plangate_client.command.output.proposal_view import proposal_view
    from plangate_client.command.review.related import context_of

    around = await context_of(store, seen)
    if not (as_json and yes):
        _print_seen(proposal_view(seen, around, times=session.times()), yes=yes, as_json=as_json)
    return around.siblings


async def _consequences(store: Any, seen: proposal_pb2.Proposal, siblings: list[Any], *, reason: str) -> str:
    """What else a rejection changes, as the store says; where it does not say, what depends on the proposal."""
    from plangate_client.command.output.proposal_view import proposal_state
    from plangate_client.errors import PlangateError
    from plangate_client.outlook.dependencies import falls_with, listed, step_name
    from plangate_core.text.printable import visible

    try:
        tried = await store.proposals.reject(seen.id, expected_version=seen.version, reason=reason, validate_only=True)
    except PlangateError:
        # The rejection itself will say what is wrong.
        return ""
    if tried.consequences:
        ends = [f"{step_name(changed)} becomes {proposal_state(changed)}" for changed in tried.consequences]
    else:
        ends = [f"{step_name(fallen)} becomes CANCELLED" for fallen in falls_with(seen, siblings)]
    return visible(f"{listed(ends)}.") if ends else ""


def _arguments(text: str) -> Any:
    from plangate_core.contract.struct_codec import StructRefused, json_to_struct

    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise CommandFailed("--args: must be a JSON object", ExitStatus.USAGE)
        return json_to_struct(value, "args")
    except (ValueError, RecursionError, StructRefused) as error:
        raise CommandFailed(f"--args: {error}", ExitStatus.USAGE) from error


def _print_seen(view: Any, *, yes: bool, as_json: bool) -> None:
    """Print what is decided about: as an answer, or on standard error where only a person sees that."""
    from plangate_client.command.output.console import stderr, stdout

    aside = not yes and (as_json or not sys.stdout.isatty())
    (stderr() if aside else stdout()).print(view, crop=False)


def _remark(text: str) -> None:
    from plangate_client.command.output.console import stderr
    from plangate_core.text.printable import visible

    stderr().print(visible(text), soft_wrap=True)


def print_changed(changed: Any, as_json: bool) -> None:
    """Print what a proposal or a plan has become."""
    if as_json:
        from plangate_client.command.output.json_output import print_message

        print_message(changed)
        return
    from plangate.plan.v1 import plan_pb2

    from plangate_client.command.output.console import stdout
    from plangate_client.command.output.plan_view import plan_state
    from plangate_client.command.output.proposal_view import proposal_state
    from plangate_client.command.output.text import short_id

    state = plan_state(changed) if isinstance(changed, plan_pb2.Plan) else proposal_state(changed)
    line = f"{short_id(changed.id)} is {state}, version {changed.version}"
    if isinstance(changed, plan_pb2.Plan):
        stdout().print(line)
        return
    if state == "PENDING" and changed.required_approvals:
        line += f", {len(changed.approvals)} of {changed.required_approvals} approvals"
    if changed.cancel_requested and state == "EXECUTING":
        line += "; its executor gets the request to stop"
    stdout().print(line)
