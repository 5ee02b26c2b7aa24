"""Asks for a plan and tells on standard error how it is coming along."""

from __future__ import annotations

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from rich.console import Console
from rich.status import Status
from rich.text import Text

from plangate_client.client import PlannerClient
from plangate_client.command.output.console import stderr
from plangate_client.command.output.tables import decision_text
from plangate_client.command.output.text import struct_text
from plangate_client.errors import Unavailable, Unimplemented
from plangate_core.contract.enum_names import enum_name
from plangate_core.text.printable import visible


async def plan_with_progress(
    planner: PlannerClient,
    request: planner_pb2.CreatePlanRequest,
    *,
    stream: bool = True,
    quiet: bool = False,
) -> plan_pb2.Plan:
    """The plan. Falls back to one plain call where the server does not stream or the stream breaks: the request_id
    makes sure that it is planned once.

    :param quiet: tell nothing.
    :raises PlangateError: no plan came of it.
    """
    console = stderr()
    with console.status("the model is thinking", spinner="dots") as status:
        if quiet:
            status.stop()
        if stream:
            try:
                return await _streamed(planner, request, None if quiet else console, status)
            except Unimplemented:
                pass
            except Unavailable as error:
                # A reason of the planner's own (no provider, no store) would only be met again.
                if error.reason:
                    raise
        return await planner.create_plan(request)


async def _streamed(
    planner: PlannerClient, request: planner_pb2.CreatePlanRequest, console: Console | None, status: Status
) -> plan_pb2.Plan:
    plan: plan_pb2.Plan | None = None
    async for update in planner.stream_plan(request):
        match update.WhichOneof("update"):
            case "attempt_started":
                started = update.attempt_started
                again = "" if started.number == 1 else f", attempt {started.number}"
                status.update(f"{visible(started.model)} is thinking{again}")
            case "plan":
                plan = update.plan
            case _ if console is not None:
                _tell(console, update)
    if plan is None:
        # The contract says that a stream that succeeds ends with the plan; ask plainly for what was stored.
        return await planner.create_plan(request)
    return plan


def _tell(console: Console, update: planner_pb2.PlanUpdate) -> None:
    match update.WhichOneof("update"):
        case "job":
            job = update.job
            console.print(
                Text.assemble(
                    ("  + ", "green"),
                    (visible(job.action_name), "bold"),
                    f" {struct_text(job.action_args)}  ",
                    decision_text(job.decision),
                )
            )
        case "jobs_retracted":
            retracted = update.jobs_retracted
            names = visible(", ".join(retracted.job_ids))
            console.print(Text(f"  - {names} taken back: {visible(retracted.reason)}", style="yellow"))
        case "attempt_finished" if update.attempt_finished.outcome != plan_pb2.ATTEMPT_OUTCOME_VALID:
            attempt = update.attempt_finished
            outcome = enum_name(attempt, "outcome").lower().replace("_", " ")
            console.print(Text(f"  attempt {attempt.number}: {outcome}", style="yellow"))
            for fault in attempt.errors:
                console.print(Text(f"    {visible(fault.path) or 'reply'}: {visible(fault.message)}", style="dim"))
