"""`plangate plan`, `submit`, `simulate` and `actions`: requests to the planner."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import (
    ContextOption,
    JsonOption,
    LabelOption,
    LimitOption,
    RequestIdOption,
    YesOption,
    checked_request_id,
    confirm,
    json_object,
    require_answer,
    struct_of,
    whole_number,
)
from plangate_client.command.output.console import stderr, stdout
from plangate_client.command.output.json_output import print_message, print_messages
from plangate_client.command.session import Session, run_async, session_of
from plangate_core.contract.limits import MAX_MODEL_CALLS
from plangate_core.text.printable import visible

if TYPE_CHECKING:
    from plangate.plan.v1 import plan_pb2
    from plangate.planner.v1 import planner_service_pb2 as planner_pb2


def plan(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is wanted, in plain words; - is standard input.")],
    facts: ContextOption = None,
    label: LabelOption = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Plan, check and govern, but store nothing.")
    ] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Store the request durably and return at once.")] = False,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Another model, if the planner allows it.")
    ] = "",
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
            metavar="N",
            parser=whole_number(0),
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

    async def made() -> plan_pb2.Plan:
        from plangate_client.command.output.plan_progress import plan_with_progress

        async with session.planner() as planner:
            if queue:
                return await planner.enqueue_plan(request)
            return await plan_with_progress(planner, request, stream=not no_stream, quiet=as_json)

    _print_plan(run_async(context, made()), session, as_json)


def submit(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="YAML or JSON: objective, and jobs with action_name and action_args each; - is standard input.",
        ),
    ] = None,
    action: Annotated[
        str, typer.Option("--action", metavar="NAME", help="Instead of a file: one step with this action.")
    ] = "",
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="The arguments of that step.")] = "{}",
    objective: Annotated[str, typer.Option("--objective", metavar="TEXT", help="What it is for.")] = "",
    facts: ContextOption = None,
    label: LabelOption = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check and govern, but store nothing.")
    ] = False,
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a plan of your own, checked and governed, without a model."""
    if (file is None) == (not action):
        raise CommandFailed("give either a file or --action NAME", ExitStatus.USAGE)
    if not validate_only:
        require_answer(yes)
    document = (
        {"jobs": [{"action_name": action, "action_args": json_object(args, "--args")}]}
        if file is None
        else _document(file)
    )
    request = _submission(document, objective)
    request.labels.update(_labels(label or []))
    if (given := _context(facts)) is not None:
        request.context.CopyFrom(given)
    session = session_of(context)
    repeated = checked_request_id(request_id)

    async def submitted() -> plan_pb2.Plan:
        from plangate_client.command.output.plan_view import plan_view

        wanted: dict[str, Any] = {
            "labels": dict(request.labels),
            "context": request.context if request.HasField("context") else None,
        }
        async with session.planner() as planner:
            if validate_only or not yes:
                checked = await planner.submit_plan(request.objective, request.jobs, **wanted, validate_only=True)
                if validate_only:
                    return checked
                stderr().print(plan_view(checked), crop=False)
                confirm("Submit this plan?", yes=yes)
            return await planner.submit_plan(request.objective, request.jobs, **wanted, request_id=repeated)

    _print_plan(run_async(context, submitted()), session, as_json)


def simulate(
    context: typer.Context,
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file to try.")],
    since: Annotated[
        float | None,
        typer.Option("--since", metavar="DAYS", min=0, help="Only plans of the last so many days; default: all."),
    ] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Try another policy on the plans that are stored: what it would have decided differently. Stores nothing."""
    from datetime import UTC, datetime, timedelta

    from plangate.planner.v1 import planner_service_pb2 as planner_pb2

    try:
        text = policy.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"cannot read {policy}: {error}", ExitStatus.USAGE) from error
    request = planner_pb2.SimulatePolicyRequest(policy_yaml=text, max_differences=min(limit, 1000))
    if since is not None:
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(days=since))
    session = session_of(context)

    async def simulated() -> planner_pb2.SimulatePolicyResponse:
        async with session.planner() as planner:
            return await planner.simulate_policy(request)

    answer = run_async(context, simulated())
    if as_json:
        print_message(answer)
        return
    from plangate_client.command.output.tables import differences_table

    console = stdout()
    for warning in answer.warnings:
        console.print(visible(f"warning: {warning}"))
    if answer.differences:
        console.print(differences_table(answer.differences), crop=False)
    shown = f", {len(answer.differences)} shown" if len(answer.differences) < answer.jobs_different else ""
    console.print(f"{answer.jobs_evaluated} steps looked at, {answer.jobs_different} decided differently{shown}")


def _print_plan(made: plan_pb2.Plan, session: Session, as_json: bool) -> None:
    if as_json:
        print_message(made)
        return
    from plangate_client.command.output.plan_view import plan_view

    stdout().print(plan_view(made, times=session.times), crop=False)


def _document(file: Path) -> dict[str, Any]:
    import yaml

    name = "standard input" if str(file) == "-" else str(file)
    try:
        value = yaml.safe_load(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise CommandFailed(f"cannot read {name}: {' '.join(str(error).split())}", ExitStatus.USAGE) from error
    if not isinstance(value, dict):
        raise CommandFailed(f"{name}: must be an object with `jobs`", ExitStatus.USAGE)
    return value


def _submission(document: dict[str, Any], objective: str) -> planner_pb2.SubmitPlanRequest:
    """The document as the contract's own message: its field names are the file's."""
    from google.protobuf.json_format import ParseDict, ParseError
    from plangate.planner.v1 import planner_service_pb2 as planner_pb2

    request = planner_pb2.SubmitPlanRequest()
    try:
        ParseDict(document, request)
    except (ParseError, RecursionError) as error:
        raise CommandFailed(f"not a plan: {' '.join(str(error).split())}", ExitStatus.USAGE) from error
    names = ", ".join(dict.fromkeys(job.action_name for job in request.jobs))
    request.objective = objective or request.objective or f"Submitted: {names}"
    return request


def actions(context: typer.Context, as_json: JsonOption = False) -> None:
    """List what may be done: the planner's catalogue."""
    session = session_of(context)

    async def listed() -> Any:
        async with session.planner() as planner:
            return await planner.list_actions()

    catalogue = run_async(context, listed())
    if as_json:
        print_messages("actions", catalogue)
        return
    from plangate_client.command.output.tables import actions_table

    stdout().print(actions_table(catalogue), crop=False)


def _context(given: str | None) -> Any:
    if given is None:
        return None
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"--context: cannot read {given}: {error}", ExitStatus.USAGE) from error
    return struct_of(text, "--context")


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandFailed(f"--label {text}: write KEY=VALUE", ExitStatus.USAGE)
        labels[key] = value
    return labels
