"""`plangate plan` and `plangate actions`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import MAX_INT64, JsonOption, RequestIdOption, checked_request_id
from plangate_client.command.session import Session, run_async, session_of
from plangate_core.contract.limits import MAX_MODEL_CALLS

if TYPE_CHECKING:
    from plangate.plan.v1 import plan_pb2
    from plangate.planner.v1 import planner_service_pb2 as planner_pb2


def plan(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is wanted, in plain words; - is standard input.")],
    facts: Annotated[
        str | None,
        typer.Option("--context", metavar="FILE|JSON", help="Facts for the model: a JSON object or a file."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")] = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Plan, check and govern, but store nothing.")
    ] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Store the request durably and return at once.")] = False,
    model: Annotated[str, typer.Option("--model", help="Another model, if the planner allows it.")] = "",
    max_attempts: Annotated[
        int,
        typer.Option(
            "--max-attempts",
            min=0,
            max=MAX_MODEL_CALLS,
            show_default=False,
            help="Calls to the model at most; 0: as the planner is set.",
        ),
    ] = 0,
    token_budget: Annotated[
        int,
        typer.Option(
            "--token-budget",
            min=0,
            max=MAX_INT64,
            show_default=False,
            help="Tokens of all calls to the model at most; 0: as the planner is set.",
        ),
    ] = 0,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Wait for the whole plan.")] = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a plan of a request in plain words, and show what policy decided about each job."""
    from plangate.planner.v1 import planner_service_pb2 as planner_pb2

    from plangate_client.calls import new_request_id

    request = planner_pb2.CreatePlanRequest(
        prompt=sys.stdin.read() if text == "-" else text,
        context=_context(facts),
        labels=_labels(label or []),
        request_id=checked_request_id(request_id) or new_request_id(),
        validate_only=validate_only,
        model=model,
        max_attempts=max_attempts,
        token_budget=token_budget,
    )
    session = session_of(context)
    made = run_async(context, _made(session, request, queue=queue, stream=not no_stream, quiet=as_json))
    if as_json:
        from plangate_client.command.output.json_output import print_message

        print_message(made)
        return
    from plangate_client.command.output.console import answers
    from plangate_client.command.output.views import plan_view

    answers().print(plan_view(made), crop=False)


def actions(context: typer.Context, as_json: JsonOption = False) -> None:
    """List what may be done: the planner's catalogue."""
    session = session_of(context)

    async def listed() -> Any:
        async with session.planner() as planner:
            return await planner.list_actions()

    catalogue = run_async(context, listed())
    if as_json:
        from plangate_client.command.output.json_output import print_messages

        print_messages("actions", catalogue)
        return
    from plangate_client.command.output.console import answers
    from plangate_client.command.output.views import actions_table

    answers().print(actions_table(catalogue), crop=False)


async def _made(
    session: Session, request: planner_pb2.CreatePlanRequest, *, queue: bool, stream: bool, quiet: bool
) -> plan_pb2.Plan:
    from plangate_client.command.output.plan_progress import plan_with_progress

    async with session.planner() as planner:
        if queue:
            return await planner.enqueue_plan(request)
        return await plan_with_progress(planner, request, stream=stream, quiet=quiet)


def _context(given: str | None) -> Any:
    from plangate_core.contract.struct_codec import StructRefused, json_to_struct

    if given is None:
        return None
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"--context: cannot read {given}: {error}", ExitStatus.USAGE) from error
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise CommandFailed("--context: must be a JSON object", ExitStatus.USAGE)
        return json_to_struct(value, "context")
    except (ValueError, RecursionError, StructRefused) as error:
        raise CommandFailed(f"--context: {error}", ExitStatus.USAGE) from error


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandFailed(f"--label {text}: write KEY=VALUE", ExitStatus.USAGE)
        labels[key] = value
    return labels
