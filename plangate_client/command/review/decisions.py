"""Subcommands that change a proposal: they show what is decided about, and ask."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import (
    CommentOption,
    IdArgument,
    JsonOption,
    RequestIdOption,
    VersionOption,
    YesOption,
    checked_request_id,
    confirm,
    require_answer,
    struct_of,
    whole_number,
)
from plangate_client.command.output.console import stderr, stdout
from plangate_client.command.output.json_output import print_message
from plangate_client.command.output.text import short_id
from plangate_client.command.session import run_async, session_of
from plangate_core.contract.enum_names import enum_name
from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from plangate.store.v1 import proposal_pb2

    from plangate_client.client import StoreClient


def approve(
    context: typer.Context,
    identifier: IdArgument,
    version: VersionOption = 0,
    comment: CommentOption = "",
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve exactly what is shown: this version with these arguments."""

    async def leads_to(store: StoreClient, seen: proposal_pb2.Proposal, siblings: list[proposal_pb2.Proposal]) -> str:
        from plangate_client.command.review.lookup import reviewer_of
        from plangate_client.outlook.dependencies import after_approval

        return after_approval(seen, siblings, await reviewer_of(store))

    _Change(context, version, yes=yes, request_id=request_id, as_json=as_json).make(
        identifier,
        "Approve exactly this?",
        lambda store, seen, call: store.proposals.approve(
            seen.id, **call, args_digest=seen.args_digest, comment=comment
        ),
        leads_to,
    )


def withdraw(
    context: typer.Context,
    identifier: IdArgument,
    comment: CommentOption = "",
    version: VersionOption = 0,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take your own approval back, while the proposal waits for more of them."""
    _Change(context, version, yes=yes, request_id=request_id, as_json=as_json).make(
        identifier,
        "Take your approval back?",
        lambda store, seen, call: store.proposals.withdraw_approval(seen.id, **call, comment=comment),
    )


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

    async def leads_to(store: StoreClient, seen: proposal_pb2.Proposal, siblings: list[proposal_pb2.Proposal]) -> str:
        """What else it changes, as the store says; where it does not say, what depends on the proposal."""
        from plangate_client.errors import PlangateError
        from plangate_client.outlook.dependencies import falls_with, listed, step_name

        try:
            tried = await store.proposals.reject(
                seen.id, expected_version=seen.version, reason=reason, validate_only=True
            )
        except PlangateError:
            # The rejection itself will say what is wrong.
            return ""
        ends = [f"{step_name(changed)} becomes {enum_name(changed, 'state')}" for changed in tried.consequences]
        ends = ends or [f"{step_name(fallen)} becomes CANCELLED" for fallen in falls_with(seen, siblings)]
        return f"With it: {listed(ends)}." if ends else ""

    _Change(context, version, yes=yes, request_id=request_id, as_json=as_json).make(
        identifier,
        "Reject it? This is final.",
        lambda store, seen, call: store.proposals.reject(seen.id, **call, reason=reason),
        leads_to,
    )


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
    what = "It was carried out?" if done else "It was not carried out, and should be again?" if retry else ""
    _Change(context, version, yes=yes, request_id=request_id, as_json=as_json).make(
        identifier,
        what or "It was not carried out, and is given up?",
        lambda store, seen, call: store.proposals.resolve(seen.id, **call, done=done, reason=reason, retry=retry),
    )


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
    _Change(context, version, yes=yes, request_id=request_id, as_json=as_json).make(
        identifier,
        "Override the review of exactly this?",
        lambda store, seen, call: store.proposals.break_glass(
            seen.id, **call, args_digest=seen.args_digest, reason=reason
        ),
    )


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
    change = _Change(context, version, yes=yes, request_id=request_id, as_json=as_json)

    async def cancelled() -> Any:
        from plangate.plan.v1 import plan_pb2

        from plangate_client.command.output.plan_view import plan_view
        from plangate_client.command.review.lookup import find_proposal_or_plan
        from plangate_client.outlook.dependencies import listed, step_name

        async with change.session.store() as store:
            thing = await find_proposal_or_plan(store, identifier)
            call: Any
            if not isinstance(thing, plan_pb2.Plan):
                await change.show(store, thing)
                question, call = "Cancel it?", store.proposals.cancel
            else:
                change.print_aside(plan_view(thing, times=change.session.times))
                question, call = "Cancel the plan?", store.plans.cancel
            tried = await call(thing.id, expected_version=version, validate_only=True)
            fallen = [f"{step_name(each)} {_end_of(each)}" for each in tried.consequences]
            change.remark(f"With it: {listed(fallen)}." if fallen else "")
            confirm(question, yes=yes)
            return await call(thing.id, reason=reason, expected_version=version, request_id=change.request_id)

    change.run(cancelled())


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
    comment: CommentOption = "",
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
    change = _Change(context, version, yes=yes or validate_only, request_id=request_id, as_json=as_json)

    async def revised() -> proposal_pb2.Proposal:
        from plangate_client.command.output.proposal_view import changes_view
        from plangate_client.outlook.difference import changes

        async with change.session.store() as store, change.session.planner() as planner:
            seen = await change.seen(store, identifier)
            wanted: dict[str, Any] = {
                "expected_version": seen.version,
                "action_args": None if args is None else struct_of(sys.stdin.read() if args == "-" else args, "--args"),
                "description": description,
                "priority": priority,
                "comment": comment,
            }
            if validate_only or not yes:
                candidate = await planner.revise_proposal(seen.id, **wanted, validate_only=True)
                if validate_only:
                    return candidate
                change.print_aside(changes_view(changes(seen, candidate)))
                confirm("Change it so?", yes=yes)
            return await planner.revise_proposal(seen.id, **wanted, request_id=change.request_id)

    change.run(revised())


class _Change:
    """A change of one proposal, or of a plan: what is changed is shown first, and somebody says yes."""

    def __init__(
        self, context: typer.Context, version: int, *, yes: bool, request_id: str | None, as_json: bool
    ) -> None:
        """Ends the command where there is nobody to ask. `version`: the only one that may be changed; 0: any."""
        self.session = session_of(context)
        self.request_id = checked_request_id(request_id)
        require_answer(yes)
        self._context = context
        self._version = version
        self._yes = yes
        self._as_json = as_json

    def make(
        self,
        identifier: str,
        question: str,
        call: Callable[[StoreClient, proposal_pb2.Proposal, dict[str, Any]], Awaitable[proposal_pb2.Proposal]],
        leads_to: Callable[[StoreClient, proposal_pb2.Proposal, list[proposal_pb2.Proposal]], Awaitable[str]]
        | None = None,
    ) -> None:
        """Show a proposal, ask, change it, and print what it has become.

        :param call: changes it; the third argument is expected_version and request_id.
        :param leads_to: says to what, from the store, the proposal, and those of its plan; empty: nothing to say.
        """

        async def changed() -> proposal_pb2.Proposal:
            async with self.session.store() as store:
                seen = await self.seen(store, identifier)
                siblings = await self.show(store, seen)
                if leads_to is not None and self._is_watched:
                    self.remark(await leads_to(store, seen, siblings))
                confirm(question, yes=self._yes)
                return await call(store, seen, {"expected_version": seen.version, "request_id": self.request_id})

        self.run(changed())

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it, and print what the proposal or plan has become."""
        changed = run_async(self._context, work)
        if self._as_json:
            print_message(changed)
            return
        state = enum_name(changed, "state")
        line = f"{short_id(changed.id)} is {state}, version {changed.version}"
        # Plans are never in these states.
        if state == "PENDING" and changed.required_approvals:
            line += f", {len(changed.approvals)} of {changed.required_approvals} approvals"
        if state == "EXECUTING" and changed.cancel_requested:
            line += "; its executor gets the request to stop"
        stdout().print(line)

    async def seen(self, store: StoreClient, identifier: str) -> proposal_pb2.Proposal:
        """The proposal as it is now, if it still has the version that the caller insists on."""
        from plangate_client.command.review.lookup import find_proposal

        seen = await find_proposal(store, identifier)
        if self._version and seen.version != self._version:
            message = f"the proposal is at version {seen.version} now, not {self._version}"
            raise CommandFailed(f"{message}: look at it again with `plangate show`", ExitStatus.CONFLICT)
        return seen

    async def show(self, store: StoreClient, seen: proposal_pb2.Proposal) -> list[proposal_pb2.Proposal]:
        """Print the proposal with what surrounds it. Returns the proposals of its plan."""
        from plangate_client.command.output.proposal_view import proposal_view
        from plangate_client.command.review.lookup import context_of

        around = await context_of(store, seen)
        self.print_aside(proposal_view(seen, around, times=self.session.times))
        return around.siblings

    @property
    def _is_watched(self) -> bool:
        """Whether a person may be reading: not a program that takes JSON and has said yes."""
        return not (self._as_json and self._yes)

    def print_aside(self, view: Any) -> None:
        """Print what is decided about: as an answer, or on standard error where only a person sees that."""
        if self._is_watched:
            aside = not self._yes and (self._as_json or not sys.stdout.isatty())
            (stderr() if aside else stdout()).print(view, crop=False)

    def remark(self, text: str) -> None:
        """Print what the change leads to, if there is something to say."""
        if text and self._is_watched:
            stderr().print(visible(text), soft_wrap=True)


def _end_of(consequence: Any) -> str:
    """What a cancel makes of a proposal, or of a Consequence, whose state is a text."""
    state = consequence.state if isinstance(consequence.state, str) else enum_name(consequence, "state")
    return "is asked to stop" if consequence.cancel_requested else f"becomes {state}"
