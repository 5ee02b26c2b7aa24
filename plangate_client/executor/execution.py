"""Approved proposals as a leased queue: what is checked before an action runs, and how its outcome is reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError
from plangate_client.executor.arguments import arguments_fault
from plangate_client.executor.catalogue import BoundAction
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.command_run import run_command
from plangate_client.executor.consent import consent_fault, log_fault
from plangate_client.executor.http_binding import HttpBinding
from plangate_client.executor.http_run import run_http
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.reconciliation import Reconciler
from plangate_client.executor.refusals import LEASE_IS_LOST, is_refusal
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused
from plangate_client.executor.values import ExecutionEnvironment, values_of
from plangate_client.leased_queue import FailureKind, Finished, Interruption
from plangate_core.contract.struct_codec import JsonObject, StructRefused, json_to_struct, struct_to_json

_RESULT_LIMIT_BYTES = 60 * 1024
_MESSAGE_CHARACTERS = 2000
_EVENTS_AT_ONCE = 100
_log = logging.getLogger(__name__)


class Ending(Enum):
    """How an execution ended for this executor."""

    EXECUTED = "executed"
    FAILED = "failed"
    RETURNED = "returned"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    NOT_REPORTED = "not_reported"


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one leased proposal. `proposal` is the store's last word on it."""

    proposal: proposal_pb2.Proposal
    ending: Ending
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Observer:
    """Callbacks of an executor, called in its event loop."""

    claimed: Callable[[proposal_pb2.Proposal], None] = lambda _: None
    ended: Callable[[Execution], None] = lambda _: None
    store_away: Callable[[PlangateError, float], None] = lambda _, __: None
    """The store cannot be reached; the next claim comes after so many seconds."""


@dataclass(slots=True)
class LeasedProposal:
    """A proposal under this executor's lease, as the store last returned it."""

    proposal: proposal_pb2.Proposal
    begun: bool = False
    """The action may have had an effect."""

    def begin(self) -> None:
        """The action is about to run."""
        self.begun = True


class ProposalQueue:
    """The store's approved proposals of some actions: a LeasedQueue."""

    def __init__(
        self,
        store: StoreClient,
        actions: Mapping[str, BoundAction],
        environment: ExecutionEnvironment,
        *,
        lease_seconds: float,
        plan_id: str,
        observer: Observer,
    ) -> None:
        self._store = store
        self._actions = actions
        self._action_names = sorted(actions)
        self._environment = environment
        self._lease_seconds = lease_seconds
        self._plan_id = plan_id
        self._observer = observer
        self._reconciler = Reconciler(store, actions, environment, plan_id=plan_id, grace_seconds=lease_seconds)

    async def claim(self, max_items: int, *, wait_seconds: float, request_id: str) -> Sequence[LeasedProposal]:
        await self._reconciler.look()
        proposals = await self._store.proposals.claim(
            action_names=self._action_names,
            max_proposals=max_items,
            lease_seconds=self._lease_seconds,
            wait_seconds=wait_seconds or None,
            plan_id=self._plan_id,
            request_id=request_id,
        )
        return [LeasedProposal(proposal) for proposal in proposals]

    async def renew(self, item: LeasedProposal, *, timeout_seconds: float) -> bool:
        item.proposal = await self._store.proposals.renew_lease(
            item.proposal.id,
            attempt=item.proposal.lease.attempt,
            lease_seconds=self._lease_seconds,
            timeout_seconds=timeout_seconds,
        )
        return item.proposal.cancel_requested

    async def perform(self, item: LeasedProposal) -> Outcome:
        if item.proposal.cancel_requested:
            return self.interrupted(item, Interruption.CANCEL_REQUESTED)
        try:
            action = self._actions[item.proposal.action_name]
            return await execute(item, action, self._environment, log_of=self._log_of)
        except Exception as error:
            # Not retryable: one executor after the other would meet the same fault.
            _log.exception("the executor failed", exc_info=error)
            return Outcome(reason="EXECUTOR_FAULT", message=f"the executor failed: {type(error).__name__}")

    async def _log_of(self, proposal: proposal_pb2.Proposal) -> Sequence[event_pb2.Event]:
        events = self._store.events.list_all(
            filter=f'entity_id = "{proposal.id}"', view=event_pb2.EVENT_VIEW_FULL, page_size=_EVENTS_AT_ONCE
        )
        return [event async for event in events]

    def interrupted(self, item: LeasedProposal, cause: Interruption, error: Exception | None = None) -> Outcome:
        match cause:
            case Interruption.CANCEL_REQUESTED:
                # Also when nothing was begun: the proposal becomes CANCELLED.
                return Outcome(reason="CANCELLED", message="the executor stopped the work: a cancel was requested")
            case Interruption.RELEASED:
                when = "while it worked" if item.begun else "before it began"
                message = f"the executor was stopped {when}"
                return Outcome(reason="EXECUTOR_STOPPED", message=message, retryable=True, not_started=not item.begun)
            case Interruption.LEASE_NOT_CONFIRMED:
                why = error.reason or error.code.name if isinstance(error, PlangateError) else type(error).__name__
                message = f"the executor did not begin: the lease could not be renewed ({why})"
                return Outcome(reason="LEASE_NOT_RENEWED", message=message, retryable=True, not_started=True)

    async def report(self, item: LeasedProposal, result: Outcome, *, request_id: str) -> proposal_pb2.Proposal:
        proposal, struct = item.proposal, _result_struct(result.result)
        if result.succeeded:
            return await self._store.proposals.complete(
                proposal.id, attempt=proposal.lease.attempt, result=struct, request_id=request_id
            )
        return await self._store.proposals.fail(
            proposal.id,
            attempt=proposal.lease.attempt,
            failure=plan_pb2.Failure(reason=result.reason, message=result.message[:_MESSAGE_CHARACTERS]),
            not_started=result.not_started,
            retryable=result.retryable,
            retry_delay_seconds=result.retry_delay_seconds,
            result=None if result.not_started else struct,
            request_id=request_id,
        )

    def failure_kind(self, error: Exception) -> FailureKind:
        if isinstance(error, LEASE_IS_LOST):
            return FailureKind.LEASE_LOST
        if not isinstance(error, PlangateError) or is_refusal(error):
            return FailureKind.REFUSED
        return FailureKind.TRANSIENT

    def retry_after_seconds(self, error: Exception) -> float:
        return error.retry_after_seconds or 0.0 if isinstance(error, PlangateError) else 0.0

    def pause_seconds(self) -> float:
        return 0.0

    def claimed(self, item: LeasedProposal) -> None:
        self._observer.claimed(item.proposal)

    def unreachable(self, error: Exception, pause_seconds: float) -> None:
        if isinstance(error, PlangateError):
            self._observer.store_away(error, pause_seconds)

    def finished(self, item: LeasedProposal, finished: Finished[Outcome, proposal_pb2.Proposal]) -> None:
        self._observer.ended(execution_of(item, finished))


async def execute(
    item: LeasedProposal,
    action: BoundAction,
    environment: ExecutionEnvironment,
    *,
    log_of: Callable[[proposal_pb2.Proposal], Awaitable[Sequence[event_pb2.Event]]] | None,
) -> Outcome:
    """Check that exactly this was agreed to and that the arguments fit, then carry the action out.

    :param log_of: looks up a proposal's events; None where there is no store.
    """
    proposal = item.proposal
    try:
        args = struct_to_json(proposal.action_args, "action_args")
    except StructRefused as error:
        return Outcome(reason="ARGUMENTS_REFUSED", message=str(error))
    fault = consent_fault(proposal, args)
    if not fault and log_of is not None:
        fault = log_fault(proposal, await log_of(proposal))
    if fault:
        return Outcome(reason="CONSENT_MISSING", message=fault)
    if fault := arguments_fault(args, action.arguments):
        return Outcome(reason="ARGUMENTS_REFUSED", message=f"the executor's catalogue refuses them: {fault}")
    values = values_of(proposal, args, environment)
    try:
        match action.binding:
            case CommandBinding() as command:
                line = command.render(values, environment.environment, environment.directory)
                item.begun = True
                return await run_command(line, command.form)
            case HttpBinding() as http:
                request = http.render(values, environment.environment)
                item.begun = True
                return await run_http(request, http.form)
            case function:
                return await function.perform(proposal, args, item.begin)
    except (ArgumentMissing, ArgumentRefused) as error:
        return Outcome(reason="ARGUMENTS_REFUSED", message=str(error))


def execution_of(item: LeasedProposal, finished: Finished[Outcome, proposal_pb2.Proposal]) -> Execution:
    """What became of a proposal, from what the worker returned."""
    outcome = finished.result or Outcome()
    if finished.lease_lost:
        return Execution(item.proposal, Ending.LEASE_LOST, outcome)
    if finished.report is None:
        return Execution(item.proposal, Ending.NOT_REPORTED, outcome)
    if outcome.succeeded:
        ending = Ending.EXECUTED
    elif finished.report.state == proposal_pb2.PROPOSAL_STATE_CANCELLED:
        ending = Ending.CANCELLED
    else:
        ending = Ending.RETURNED if outcome.not_started else Ending.FAILED
    return Execution(finished.report, ending, outcome)


def _result_struct(result: JsonObject) -> Struct:
    """The result as the store takes it: the longest member is halved until it fits.

    Of a command's output the end is kept, of an HTTP answer the beginning.
    """
    fitting = dict(result)
    while True:
        struct = json_to_struct(fitting, "result")
        try:
            struct_to_json(struct, "result", byte_limit=_RESULT_LIMIT_BYTES)
        except StructRefused:
            name = max(fitting, key=lambda key: len(str(fitting[key])))
            value = fitting[name]
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            half = len(text) // 2
            fitting[name] = text[:half] if name == "body" else text[half + 1 :]
            fitting["output_cut"] = True
        else:
            return struct
