"""The demo, step by step. Every step is done by the real thing: servers, contract, executor."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from examples.demo.sandbox import contents, make_sandbox
from plangate_client.client import PlannerClient, StoreClient
from plangate_client.command.output.console import stdout
from plangate_client.command.output.execution_view import claimed_line, execution_view
from plangate_client.command.output.plan_progress import plan_with_progress
from plangate_client.command.output.plan_view import plan_view
from plangate_client.command.output.proposal_view import proposal_view
from plangate_client.command.output.tables import events_table
from plangate_client.errors import PlangateError, SelfApproval
from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import Ending, Execution, Observer
from plangate_client.executor.executor import Executor
from plangate_client.leased_worker import WorkerOptions
from plangate_client.servers.server_pair import Addresses, ServerPair
from plangate_core.contract.enum_names import enum_name
from plangate_core.rpc.channel import open_channel
from plangate_core.text.printable import visible

DEFAULT_REQUEST = (
    "Look for errors in logs/web.log, archive the logs in logs that are older than 30 days, "
    "delete tmp/upload-cache.bin, and delete data/customers.csv."
)
REQUESTER = "alice"
REVIEWER = "bob"
WORKER = "demo-executor"


class StoryFailed(Exception):
    """Something that the demo promises did not happen; the message says what."""


class Story:
    """One run of the demo."""

    def __init__(self, directory: Path, environment: Mapping[str, str], *, request: str, may_ask: bool) -> None:
        """:param may_ask: somebody sits at the terminal and decides; otherwise the reviewer says yes."""
        self._sandbox = directory / "sandbox"
        self._environment = environment
        self._request = request
        self._may_ask = may_ask
        self._out: Console = stdout()

    async def tell(self) -> int:
        """Run it. Returns the exit status 0. Raises StoryFailed, ServerEnded, PlangateError's types as StoryFailed."""
        self._sandbox.mkdir()
        make_sandbox(self._sandbox)
        before = contents(self._sandbox)
        head(f"{REQUESTER} asks")
        self._out.print(Text(visible(self._request), style="bold"))
        async with ServerPair(self._environment, drain_seconds=3.0) as pair:
            started = time.monotonic()
            model = self._environment["PLANGATE_MODEL"]
            loading = ", loading the model (10 s to 2 min)" if model == "embedded" else ""
            if not self._out.is_terminal:
                self._out.print(f"starting store and planner{loading}", style="dim")
            with self._out.status(f"starting store and planner{loading}"):
                addresses = await pair.start()
            self._out.print(
                f"store on {addresses.store}, planner on {addresses.planner}, "
                f"ready in {time.monotonic() - started:.1f} s; sandbox {self._sandbox}",
                style="dim",
            )
            try:
                await self._act(addresses, before)
            except PlangateError as error:
                self._show_attempts(error)
                raise StoryFailed(f"{error.message} ({error.reason or error.code.name})") from error
        self._out.print("\nBoth servers are stopped.", style="dim")
        return 0

    async def _act(self, addresses: Addresses, before: dict[str, bytes]) -> None:
        async with (
            PlannerClient(open_channel(addresses.planner, actor=REQUESTER)) as planner,
            StoreClient(open_channel(addresses.store, actor=REQUESTER)) as requester,
            StoreClient(open_channel(addresses.store, actor=REVIEWER)) as reviewer,
            StoreClient(open_channel(addresses.store, actor=WORKER)) as worker,
        ):
            plan = await plan_with_progress(planner, planner_pb2.CreatePlanRequest(prompt=self._request))
            head("The plan, and what policy decided")
            self._out.print(plan_view(plan))
            if not plan.jobs:
                await self._nothing_to_do(planner)
            else:
                rejected = await self._review(plan, requester, reviewer)
                executions = await self._execute(plan, worker)
                changed = self._show_changes(before)
                self._check(plan, executions, rejected, changed)
            await self._show_log(requester)

    async def _nothing_to_do(self, planner: PlannerClient) -> None:
        names = ", ".join(action.name for action in await planner.list_actions())
        self._out.print(f"\nNothing was planned and nothing runs. The catalogue offers: {names}.")
        if self._request == DEFAULT_REQUEST:
            raise StoryFailed("the model found no action for the default request")

    async def _review(self, plan: plan_pb2.Plan, requester: StoreClient, reviewer: StoreClient) -> set[str]:
        """Ask about every proposal that needs a person. Returns the ids of those that were rejected."""
        found = [proposal async for proposal in requester.proposals.list_all(filter=f'plan_id = "{plan.id}"')]
        pending = [proposal for proposal in found if proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING]
        rejected: set[str] = set()
        if not pending:
            return rejected
        head(f"{REVIEWER} reviews")
        await self._try_self_approval(requester, pending[0])
        for listed in sorted(pending, key=lambda proposal: proposal.id):
            # A rejection cancels what depends on it: look again before asking.
            proposal = await reviewer.proposals.get(listed.id)
            self._out.print()
            if proposal.state != proposal_pb2.PROPOSAL_STATE_PENDING:
                self._out.print(f"{visible(proposal.action_name)} is cancelled: {visible(proposal.failure.message)}")
                rejected.add(proposal.id)
                continue
            self._out.print(proposal_view(proposal))
            if self._may_ask and not await self._agrees():
                await reviewer.proposals.reject(
                    proposal.id, expected_version=proposal.version, reason="the person at the terminal said no"
                )
                rejected.add(proposal.id)
                self._out.print(f"{REVIEWER} rejects it: it will not run", style="red")
                continue
            approved = await reviewer.proposals.approve(
                proposal.id,
                expected_version=proposal.version,
                args_digest=proposal.args_digest,
                comment="approved in the demo",
            )
            state = enum_name(approved, "state")
            self._out.print(f"{REVIEWER} approves exactly this: {state}, version {approved.version}", style="green")
        return rejected

    async def _try_self_approval(self, requester: StoreClient, proposal: proposal_pb2.Proposal) -> None:
        try:
            await requester.proposals.approve(proposal.id, expected_version=proposal.version)
        except SelfApproval as error:
            self._out.print(f"{REQUESTER} tries to approve her own request: refused, {error.reason}", style="yellow")
        else:
            raise StoryFailed("the requester could approve her own request")

    async def _agrees(self) -> bool:
        """Ask at the terminal."""
        while True:
            answer = await read_line(f"Approve exactly this as {REVIEWER}? [y/n] ")
            if answer.lower() in ("", "n", "no"):
                return False
            if answer.lower() in ("y", "yes"):
                return True

    async def _execute(self, plan: plan_pb2.Plan, worker: StoreClient) -> list[Execution]:
        head(f"{WORKER} works")
        executions: list[Execution] = []

        def ended(execution: Execution) -> None:
            executions.append(execution)
            self._out.print(execution_view(execution))

        catalogue = load_bound_catalogue(Path(self._environment["PLANGATE_CATALOGUE_FILE"]))
        executor = Executor(
            worker,
            catalogue,
            ExecutionEnvironment(self._environment, self._sandbox, sys.executable, catalogue.path.parent),
            options=WorkerOptions(parallel=1),
            plan_id=plan.id,
            observer=Observer(claimed=lambda proposal: self._out.print(claimed_line(proposal)), ended=ended),
        )
        await executor.run(asyncio.Event(), until_idle=True)
        if not executions:
            self._out.print("nothing was approved, so nothing runs")
        return executions

    def _show_changes(self, before: dict[str, bytes]) -> bool:
        head("The disk, before and after")
        after = contents(self._sandbox)
        for path in sorted(before.keys() | after.keys()):
            old, new = before.get(path), after.get(path)
            if new is None and old is not None:
                self._out.print(Text(f"- {path}  {len(old):,} bytes", style="red"))
            elif old is None and new is not None:
                self._out.print(Text(f"+ {path}  {len(new):,} bytes", style="green"))
            elif old is not None and new is not None:
                mark, style = ("  ", "dim") if old == new else ("~ ", "yellow")
                self._out.print(Text(f"{mark}{path}  {len(new):,} bytes", style=style))
        if before == after:
            self._out.print("nothing changed on disk")
        return before != after

    def _check(self, plan: plan_pb2.Plan, executions: list[Execution], rejected: set[str], changed: bool) -> None:
        """What was to run ran, and nothing else did. Raises StoryFailed."""
        wanted = {job.proposal_id for job in plan.jobs if job.proposal_id} - rejected
        executed = {execution.proposal.id for execution in executions if execution.ending is Ending.EXECUTED}
        for execution in executions:
            if execution.ending is not Ending.EXECUTED:
                outcome = execution.outcome
                raise StoryFailed(f"{execution.proposal.action_name} did not succeed: {outcome.message}")
        # What depends on a rejected step is cancelled with it.
        if executed != wanted and not rejected:
            raise StoryFailed(f"{len(wanted - executed)} approved steps were not executed")
        if self._request == DEFAULT_REQUEST and not rejected:
            effects = {job.decision.effect for job in plan.jobs}
            if effects != {plan_pb2.EFFECT_ALLOW, plan_pb2.EFFECT_REQUIRE_APPROVAL, plan_pb2.EFFECT_DENY}:
                raise StoryFailed(
                    "the default request should give steps that are allowed, need approval, and are denied"
                )
            if not changed:
                raise StoryFailed("nothing changed on disk")

    async def _show_log(self, store: StoreClient) -> None:
        head("The log proves it")
        events = [event async for event in store.events.list_all(view=event_pb2.EVENT_VIEW_BASIC)]
        self._out.print(events_table(events))
        self._out.print("* claimed, not proved: on loopback the servers run without authentication", style="dim")
        verdict = await store.events.verify()
        if not verdict.valid:
            raise StoryFailed(f"the log is damaged at revision {verdict.first_bad_revision}: {verdict.problem}")
        self._out.print(
            f"\n{verdict.events_checked} events, hash chain whole, head {verdict.head_hash.hex()[:16]}…", style="green"
        )

    def _show_attempts(self, error: PlangateError) -> None:
        for attempt in error.generation.attempts if error.generation is not None else ():
            for fault in attempt.errors:
                text = f"attempt {attempt.number}: {visible(fault.path) or 'reply'}: {visible(fault.message)}"
                self._out.print(Text(text, style="dim"))


def head(title: str) -> None:
    """The heading of a part."""
    out = stdout()
    out.print()
    out.print(Rule(Text(title, style="bold"), align="left", style="dim"), width=min(out.width, 80))


async def read_line(question: str) -> str:
    """A line from the terminal, without blanks around it; empty at its end too. The event loop reads, so that Ctrl-C
    still ends everything."""
    loop = asyncio.get_running_loop()
    stdout().print(question, end="")
    readable = asyncio.Event()
    loop.add_reader(sys.stdin, readable.set)
    try:
        await readable.wait()
        return sys.stdin.readline().strip()
    finally:
        loop.remove_reader(sys.stdin)
