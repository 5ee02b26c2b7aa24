"""`plangate work`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.options import JsonOption
from plangate_client.command.output.console import stderr, stdout
from plangate_client.command.output.json_output import message_json, print_json
from plangate_client.command.session import Session, run_async, session_of, stop_on
from plangate_client.leased_worker import WorkerOptions
from plangate_core.contract.limits import MAX_BATCH, MAX_LEASE_SECONDS, MIN_LEASE_SECONDS
from plangate_core.process import standard_output

if TYPE_CHECKING:
    from plangate.store.v1 import proposal_pb2

    from plangate_client.executor.catalogue import BoundAction, BoundCatalogue
    from plangate_client.executor.execution import Execution


def work(
    context: typer.Context,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", metavar="FILE", help="The executor's copy; PLANGATE_CATALOGUE_FILE.")
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(
            "--worker", metavar="MODULE", help="A Python module with @worker.action functions; may be repeated."
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", metavar="DIR", help="Where commands run; by default here.")
    ] = None,
    action: Annotated[list[str] | None, typer.Option("--action", help="Only this action; may be repeated.")] = None,
    plan: Annotated[str, typer.Option("--plan", metavar="ID", help="Only proposals of this plan (whole id).")] = "",
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=MAX_BATCH, help="How many at once.")] = 4,
    lease_seconds: Annotated[
        float,
        typer.Option(
            "--lease",
            min=MIN_LEASE_SECONDS,
            max=MAX_LEASE_SECONDS,
            help="Seconds until a crashed executor's work is given away.",
        ),
    ] = 30.0,
    drain_seconds: Annotated[
        float, typer.Option("--drain", min=0, help="After SIGTERM or Ctrl-C: seconds that running work may finish in.")
    ] = 20.0,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing to do.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Carry out approved proposals: actions that the catalogue binds to a command or a URL, or a Python worker has."""
    session = session_of(context)
    path = catalogue if worker else catalogue or session.settings.catalogue_file
    if path is None and not worker:
        raise CommandFailed(
            "which actions? Give --catalogue FILE or --worker MODULE, or set PLANGATE_CATALOGUE_FILE", ExitStatus.USAGE
        )
    environment = dict(os.environ)
    bound = _bound(path, worker or [], action or [], environment)
    options = WorkerOptions(parallel=parallel, lease_seconds=lease_seconds, drain_seconds=drain_seconds)
    run_async(context, _work(session, bound, environment, _place(directory), options, plan, once, as_json))


def _bound(path: Path | None, workers: list[str], wanted: list[str], environment: Any) -> BoundCatalogue:
    from plangate_client.executor.catalogue import BoundCatalogue, load_bound_catalogue
    from plangate_core.catalogue.catalogue import CatalogueInvalid

    bound = BoundCatalogue(Path.cwd() / "catalogue.yaml", {})
    if path is not None:
        try:
            bound = load_bound_catalogue(path)
        except CatalogueInvalid as error:
            raise CommandFailed(str(error), ExitStatus.USAGE) from error
    if workers:
        bound = BoundCatalogue(bound.path, {**bound.actions, **_worker_actions(workers, bound)})
    where = f"the catalogue binds no action{{}}: {path}" if path is not None else "the worker has no action{}"
    if unknown := [name for name in wanted if name not in bound.actions]:
        raise CommandFailed(where.format(f" {unknown[0]}"), ExitStatus.USAGE)
    if wanted:
        bound = BoundCatalogue(bound.path, {name: bound.actions[name] for name in wanted})
    if not bound.actions:
        raise CommandFailed(where.format(" to a command or an HTTP request"), ExitStatus.USAGE)
    for variable, name in bound.missing_environment(environment):
        raise CommandFailed(f"the environment variable {variable} is not set; {name} needs it", ExitStatus.USAGE)
    return bound


def _worker_actions(workers: list[str], bound: BoundCatalogue) -> dict[str, BoundAction]:
    from plangate_client.worker import WorkerNotFound, load_actions
    from plangate_client.worker.running import bound_actions
    from plangate_core.catalogue.schema_bounds import SchemaRefused

    actions: dict[str, BoundAction] = {}
    for target in workers:
        try:
            found = bound_actions(load_actions(target))
        except (WorkerNotFound, SchemaRefused) as error:
            raise CommandFailed(str(error), ExitStatus.USAGE) from error
        if twice := [name for name in found if name in actions or name in bound.actions]:
            raise CommandFailed(f"the action {twice[0]} is there twice: in {target} and elsewhere", ExitStatus.USAGE)
        actions.update(found)
    return actions


def _place(given: Path | None) -> Path:
    """Where commands run. Refused here when none could: each would end what was approved as FAILED."""
    try:
        place = given if given is not None else Path.cwd()
        # Fails for a file in its stead, too, and for a directory that may not be entered.
        os.stat(os.path.join(place, "."))
    except OSError as error:
        where = f"in {given}" if given is not None else "here"
        raise CommandFailed(f"--directory: commands cannot run {where}: {error.strerror}", ExitStatus.USAGE) from error
    return place


async def _work(
    session: Session,
    bound: BoundCatalogue,
    environment: Any,
    directory: Path,
    options: WorkerOptions,
    plan_id: str,
    once: bool,
    as_json: bool,
) -> None:
    from plangate_client.command.output.execution_view import claimed_line, execution_view
    from plangate_client.executor.environment import ExecutionEnvironment
    from plangate_client.executor.execution import Observer
    from plangate_client.executor.executor import Executor

    # Leases name their holder: by default one that tells two machines apart.
    worker = session.settings.actor or f"executor@{socket.gethostname()}-{os.getpid()}"
    stop = asyncio.Event()
    output = _Output(stop)

    def remark(text: str) -> None:
        output.print(lambda: stderr().print(text, style="dim"))

    def claimed(proposal: proposal_pb2.Proposal) -> None:
        if not as_json:
            output.print(lambda: stdout().print(claimed_line(proposal)))

    def ended(execution: Execution) -> None:
        if not as_json:
            output.print(lambda: stdout().print(execution_view(execution)))
            return
        line = {
            "ending": execution.ending.value,
            "reason": execution.outcome.reason,
            "message": execution.outcome.message,
            "proposal": message_json(execution.proposal),
        }
        output.print(lambda: print_json(line, indent=None))

    async with session.store(actor=worker) as store:
        executor = Executor(
            store,
            bound,
            ExecutionEnvironment(environment, directory, sys.executable, bound.path.parent),
            options=options,
            plan_id=plan_id,
            observer=Observer(
                claimed=claimed,
                ended=ended,
                store_away=lambda error, seconds: remark(
                    f"the store cannot be reached ({error.code.name}); trying again in {seconds:g} s"
                ),
            ),
        )
        # The first signal lets running work finish, the second one hands it back at once.
        stop_on((signal.SIGTERM, signal.SIGINT), stop, executor.release)
        if not as_json:
            remark(f"{worker} carries out: {', '.join(sorted(bound.actions))}")
        await executor.run(stop, until_idle=once)
    if output.fault is not None:
        raise output.fault


class _Output:
    """Prints what happens. When that fails (a closed pipe, a full disk), the executor is stopped in order: work that
    runs goes on to its report."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.fault: OSError | None = None
        self._stop = stop

    def print(self, write: Callable[[], None]) -> None:
        if self.fault is not None:
            return
        try:
            write()
        except OSError as fault:
            self.fault = fault
        except SystemExit:
            # What rich makes of a closed pipe.
            self.fault = BrokenPipeError()
        if self.fault is not None:
            standard_output.give_up()
            self._stop.set()
