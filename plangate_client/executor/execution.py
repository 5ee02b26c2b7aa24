"""One leased proposal: from the lease to the report.

The lease is renewed while the work runs. The work is stopped when a cancel was requested, when the lease is lost, or
when it ran out here because the store could not be reached: another executor may hold it by then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.calls import may_be_repeated, new_request_id
from plangate_client.client import StoreClient
from plangate_client.errors import Conflict, NotFound, PlangateError, PreconditionFailed
from plangate_client.executor.catalogue import BoundAction
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.command_run import run_command
from plangate_client.executor.consent import consent_fault
from plangate_client.executor.http_run import run_http
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused, Values
from rpckit.renewal import RenewalPace
from rpckit.struct_codec import JsonObject, StructRefused, json_to_struct, struct_to_json
from rpckit.tasks import ended

_RESULT_LIMIT_BYTES = 60 * 1024
_MESSAGE_CHARACTERS = 2000
_LOG = logging.getLogger(__name__)


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
class Surroundings:
    """Where the executor runs: what placeholders and environment references stand for."""

    environment: Mapping[str, str]
    directory: Path
    python: str
    catalogue_directory: Path


class LeaseHolder:
    """Carries leased proposals out, one call of `run` for each."""

    def __init__(
        self,
        store: StoreClient,
        actions: Mapping[str, BoundAction],
        surroundings: Surroundings,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._actions = actions
        self._surroundings = surroundings
        self._lease_seconds = lease_seconds
        self._clock = clock

    async def run(self, proposal: proposal_pb2.Proposal, *, leased_at: float, hand_back: asyncio.Event) -> Execution:
        """Carry one proposal out and report.

        :param leased_at: the clock's time before the lease was asked for, so that it never seems longer than it is.
        :param hand_back: when it is set the work is stopped and given back to the store; when it is set from the
            beginning, nothing is begun.
        """
        if self._clock() - leased_at > RenewalPace(self._lease_seconds).after_seconds:
            # The claim took long, or its first answer was lost: the lease may be another's by now.
            leased_at = self._clock()
            try:
                proposal = await self._renewed(proposal, self._lease_seconds)
            except PlangateError:
                return Execution(proposal, Ending.LEASE_LOST, Outcome())
        begun = asyncio.Event()
        work = asyncio.create_task(self._carry_out(proposal, begun, hand_back))
        lease = asyncio.create_task(self._keep_lease(proposal, leased_at))
        asked = asyncio.create_task(hand_back.wait())
        try:
            await asyncio.wait({work, lease, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await ended(work)
            if not work.cancelled():
                outcome = _outcome(work)
            elif lease.done():
                # Also when nothing was begun: somebody asked to cancel it, and it is.
                outcome = Outcome(reason="CANCELLED", message="the executor stopped the work: a cancel was requested")
            else:
                outcome = Outcome(
                    reason="EXECUTOR_STOPPED",
                    message=f"the executor was stopped {'while it worked' if begun.is_set() else 'before it began'}",
                    retryable=True,
                    not_started=not begun.is_set(),
                )
            if lease.done() and not lease.result():
                return Execution(proposal, Ending.LEASE_LOST, outcome)
            return await self._report(proposal, outcome, lease)
        finally:
            for task in (work, lease, asked):
                await ended(task)

    async def _carry_out(
        self, proposal: proposal_pb2.Proposal, begun: asyncio.Event, hand_back: asyncio.Event
    ) -> Outcome:
        if hand_back.is_set():
            # Stands still until it is cancelled.
            await asyncio.Event().wait()
        action = self._actions[proposal.action_name]
        try:
            args = struct_to_json(proposal.action_args, "action_args")
        except StructRefused as error:
            return Outcome(reason="ARGUMENTS_REFUSED", message=str(error))
        if fault := consent_fault(proposal, args):
            return Outcome(reason="CONSENT_MISSING", message=fault)
        if fault := action.arguments.fault(args):
            return Outcome(reason="ARGUMENTS_REFUSED", message=f"the executor's catalogue refuses them: {fault}")
        values = Values(
            args,
            {
                "proposal.id": proposal.id,
                "proposal.plan_id": proposal.plan_id,
                "proposal.attempt": str(proposal.lease.attempt),
                "python": self._surroundings.python,
                "catalogue_directory": str(self._surroundings.catalogue_directory),
            },
        )
        environment = self._surroundings.environment
        try:
            if isinstance(action.binding, CommandBinding):
                line = action.binding.render(values, environment, self._surroundings.directory)
                begun.set()
                return await run_command(line, action.binding.form)
            request = action.binding.render(values, environment)
            begun.set()
            return await run_http(request, action.binding.form)
        except (ArgumentMissing, ArgumentRefused) as error:
            return Outcome(reason="ARGUMENTS_REFUSED", message=str(error))

    async def _keep_lease(self, proposal: proposal_pb2.Proposal, leased_at: float) -> bool:
        """Renew until the work must stop: True when a cancel was requested, False when the lease is lost."""
        if proposal.cancel_requested:
            return True
        pace = RenewalPace(self._lease_seconds)
        ends_at = leased_at + self._lease_seconds
        pause = leased_at + pace.after_seconds - self._clock()
        while True:
            await asyncio.sleep(max(0.0, min(pause, ends_at - self._clock())))
            asked_at = self._clock()
            if asked_at >= ends_at:
                return False
            try:
                renewed = await self._renewed(proposal, min(pace.timeout_seconds, ends_at - asked_at))
            except (Conflict, NotFound, PreconditionFailed):
                return False
            except PlangateError:
                pause = pace.again_after_seconds
                continue
            pause = pace.after_seconds
            ends_at = asked_at + self._lease_seconds
            if renewed.cancel_requested:
                return True

    async def _renewed(self, proposal: proposal_pb2.Proposal, timeout_seconds: float) -> proposal_pb2.Proposal:
        return await self._store.proposals.renew_lease(
            proposal.id,
            attempt=proposal.lease.attempt,
            lease_seconds=self._lease_seconds,
            timeout_seconds=timeout_seconds,
        )

    async def _report(self, proposal: proposal_pb2.Proposal, outcome: Outcome, lease: asyncio.Task[bool]) -> Execution:
        """Tell the store, again and again with one request_id while the lease holds."""
        request_id = new_request_id()
        result = _result_struct(outcome.result)
        while True:
            try:
                if outcome.succeeded:
                    reported = await self._store.proposals.complete(
                        proposal.id, attempt=proposal.lease.attempt, result=result, request_id=request_id
                    )
                    return Execution(reported, Ending.EXECUTED, outcome)
                reported = await self._store.proposals.fail(
                    proposal.id,
                    attempt=proposal.lease.attempt,
                    failure=plan_pb2.Failure(reason=outcome.reason, message=outcome.message[:_MESSAGE_CHARACTERS]),
                    not_started=outcome.not_started,
                    retryable=outcome.retryable,
                    retry_delay_seconds=outcome.retry_delay_seconds,
                    result=None if outcome.not_started else result,
                    request_id=request_id,
                )
                if reported.state == proposal_pb2.PROPOSAL_STATE_CANCELLED:
                    return Execution(reported, Ending.CANCELLED, outcome)
                return Execution(reported, Ending.RETURNED if outcome.not_started else Ending.FAILED, outcome)
            except (Conflict, NotFound, PreconditionFailed):
                return Execution(proposal, Ending.LEASE_LOST, outcome)
            except PlangateError as error:
                if not may_be_repeated(error) or (lease.done() and not lease.result()):
                    return Execution(proposal, Ending.NOT_REPORTED, outcome)
            await asyncio.sleep(min(1.0, self._lease_seconds / 10))


def _outcome(work: asyncio.Task[Outcome]) -> Outcome:
    try:
        return work.result()
    except Exception as error:
        # A fault of ours must not be tried again by one executor after the other.
        _LOG.exception("the executor failed", exc_info=error)
        return Outcome(reason="EXECUTOR_FAULT", message=f"the executor failed: {type(error).__name__}")


def _result_struct(result: JsonObject) -> Struct:
    """The result as the store takes it: the longest member is halved until it fits.

    What a command writes last says most, of an answer the beginning.
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
