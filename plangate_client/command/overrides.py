"""`plangate resolve` and `break-glass`: what is done when the ordinary way is blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import (
    IdArgument,
    JsonOption,
    RequestIdOption,
    VersionOption,
)
from plangate_client.command.review.confirmation import YesOption, begin_change, confirm
from plangate_client.command.review.decisions import print_changed, seen_version, show_seen
from plangate_client.command.session import run_async

if TYPE_CHECKING:
    from plangate.store.v1 import proposal_pb2


def resolve(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="How that is known; goes to the log.")],
    done: Annotated[bool, typer.Option("--done", help="The action was carried out.")] = False,
    not_done: Annotated[bool, typer.Option("--not-done", help="It was not: the proposal becomes FAILED.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="With --not-done: carry it out again under the approvals it has.")
    ] = False,
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether an UNRESOLVED proposal's action was carried out."""
    if done == not_done or (retry and done):
        raise CommandFailed("give either --done, or --not-done with or without --retry", ExitStatus.USAGE)
    session, repeated = begin_change(context, request_id, yes=yes)

    async def resolved() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await seen_version(store, identifier, version)
            await show_seen(session, store, seen, yes=yes, as_json=as_json)
            what = "It was carried out?" if done else "It was not carried out, and should be again?" if retry else ""
            confirm(what or "It was not carried out, and is given up?", yes=yes)
            return await store.proposals.resolve(
                seen.id,
                expected_version=seen.version,
                done=done,
                reason=reason,
                retry=retry,
                request_id=repeated,
            )

    print_changed(run_async(context, resolved()), as_json)


def break_glass(
    context: typer.Context,
    identifier: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Why it cannot wait; goes to the log.")],
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a proposal executed without its review, as one of two admins. Every view and the log show it."""
    session, repeated = begin_change(context, request_id, yes=yes)

    async def broken() -> proposal_pb2.Proposal:
        async with session.store() as store:
            seen = await seen_version(store, identifier, version)
            await show_seen(session, store, seen, yes=yes, as_json=as_json)
            confirm("Override the review of exactly this?", yes=yes)
            return await store.proposals.break_glass(
                seen.id,
                expected_version=seen.version,
                args_digest=seen.args_digest,
                reason=reason,
                request_id=repeated,
            )

    print_changed(run_async(context, broken()), as_json)
