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

from plangate_client.calls import new_request_id
from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError
from plangate_client.executor.catalogue import BoundAction
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.command_run import run_command
from plangate_client.executor.consent import consent_fault
from plangate_client.executor.http_run import run_http
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.refusals import LEASE_IS_LOST, is_refusal
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused, Values
from plangate_client.renewal import RenewalSchedule
from plangate_core.contract.struct_codec import JsonObject, StructRefused, json_to_struct, struct_to_json
from plangate_core.process.tasks import ended

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
class ExecutionEnvironment:
    """Where the executor runs: what placeholders and environment references stand for."""

    environment: Mapping[str, str]
    directory: Path
    python: str
    catalogue_directory: Path


@dataclass(slots=True)
class _Lease:
    """What is known here of a lease. It ends at `ends_at` of the executor's clock unless it is renewed."""

    ends_at: float
    lost: bool = False


class LeaseHolder:
    """Carries leased proposals out, one call of `run` for each."""

    def __init__(
        self,
        store: StoreClient,
        actions: Mapping[str, BoundAction],
        execution_environment: ExecutionEnvironment,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._actions = actions
        self._execution_environment = execution_environment
        self._lease_seconds = lease_seconds
        self._clock = clock

    async def run(self, proposal: proposal_pb2.Proposal, *, leased_at: float, hand_back: asyncio.Event) -> Execution:
        """Carry one proposal out and report.

        :param leased_at: the clock's time before the lease was asked for, so that it never seems longer than it is.
        :param hand_back: when it is set the work is stopped and given back to the store; when it is set from the
            beginning, nothing is begun.
        """
        asked = asyncio.create_task(hand_back.wait())
        try:
            if self._clock() - leased_at > RenewalSchedule(self._lease_seconds).after_seconds:
                # The claim took long, or its first answer was lost: the lease may be another's by now.
                renewed = await self._renewed_or_ended(proposal, asked)
                if isinstance(renewed, Execution):
                    return renewed
                proposal, leased_at = renewed
            return await self._run_leased(proposal, leased_at, hand_back, asked)
        finally:
            await ended(asked)

    async def _renewed_or_ended(
        self, proposal: proposal_pb2.Proposal, asked: asyncio.Task[bool]
    ) -> tuple[proposal_pb2.Proposal, float] | Execution:
        """The proposal with a lease that certainly holds, and since when; or, when there is none, how it ended."""
        # It began before the claim was answered: it cannot hold for longer than this.
        lease = _Lease(self._clock() + self._lease_seconds)
        renewal = asyncio.create_task(self._renewed_at_last(proposal, lease))
        try:
            await asyncio.wait({renewal, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(renewal)
        if renewal.cancelled():
            return await self._report(proposal, _stopped(begun=False), lease)
        try:
            return renewal.result()
        except LEASE_IS_LOST:
            return Execution(proposal, Ending.LEASE_LOST, Outcome())
        except PlangateError as error:
            message = f"the executor did not begin: the lease could not be renewed ({error.reason or error.code.name})"
            outcome = Outcome(reason="LEASE_NOT_RENEWED", message=message, retryable=True, not_started=True)
            return await self._report(proposal, outcome, lease)

    async def _renewed_at_last(
        self, proposal: proposal_pb2.Proposal, lease: _Lease
    ) -> tuple[proposal_pb2.Proposal, float]:
        """Renew, again and again until the lease has certainly ended. Raises PlangateError."""
        pace = RenewalSchedule(self._lease_seconds)
        while True:
            asked_at = self._clock()
            try:
                return await self._renewed(proposal, pace.timeout_seconds), asked_at
            except PlangateError as error:
                pause = max(pace.again_after_seconds, error.retry_after_seconds or 0.0)
                if is_refusal(error) or self._clock() + pause >= lease.ends_at:
                    raise
            await asyncio.sleep(pause)

    async def _run_leased(
        self,
        proposal: proposal_pb2.Proposal,
        leased_at: float,
        hand_back: asyncio.Event,
        asked: asyncio.Task[bool],
    ) -> Execution:
        begun = asyncio.Event()
        lease = _Lease(leased_at + self._lease_seconds)
        work = asyncio.create_task(self._carry_out(proposal, begun, hand_back))
        keeping = asyncio.create_task(self._keep_lease(proposal, lease, leased_at))
        try:
            await asyncio.wait({work, keeping, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await ended(work)
            if not work.cancelled():
                outcome = _outcome(work)
            elif keeping.done():
                # Also when nothing was begun: somebody asked to cancel it, and it is.
                outcome = Outcome(reason="CANCELLED", message="the executor stopped the work: a cancel was requested")
            else:
                outcome = _stopped(begun=begun.is_set())
            if keeping.done():
                # Raises what nobody foresaw.
                keeping.result()
            if lease.lost:
                return Execution(proposal, Ending.LEASE_LOST, outcome)
            return await self._report(proposal, outcome, lease)
        finally:
            await ended(work, keeping)

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
                "python": self._execution_environment.python,
                "catalogue_directory": str(self._execution_environment.catalogue_directory),
            },
        )
        environment = self._execution_environment.environment
        try:
            if isinstance(action.binding, CommandBinding):
                line = action.binding.render(values, environment, self._execution_environment.directory)
                begun.set()
                return await run_command(line, action.binding.form)
            request = action.binding.render(values, environment)
            begun.set()
            return await run_http(request, action.binding.form)
        except (ArgumentMissing, ArgumentRefused) as error:
            return Outcome(reason="ARGUMENTS_REFUSED", message=str(error))

    async def _keep_lease(self, proposal: proposal_pb2.Proposal, lease: _Lease, leased_at: float) -> None:
        """Renew until the work must stop: a cancel was requested, or the lease is lost."""
        if proposal.cancel_requested:
            return
        pace = RenewalSchedule(self._lease_seconds)
        pause = leased_at + pace.after_seconds - self._clock()
        while True:
            await asyncio.sleep(max(0.0, min(pause, lease.ends_at - self._clock())))
            asked_at = self._clock()
            if asked_at >= lease.ends_at:
                lease.lost = True
                return
            try:
                renewed = await self._renewed(proposal, min(pace.timeout_seconds, lease.ends_at - asked_at))
            except LEASE_IS_LOST:
                lease.lost = True
                return
            except PlangateError:
                pause = pace.again_after_seconds
                continue
            pause = pace.after_seconds
            lease.ends_at = asked_at + self._lease_seconds
            if renewed.cancel_requested:
                return

    async def _renewed(self, proposal: proposal_pb2.Proposal, timeout_seconds: float) -> proposal_pb2.Proposal:
        return await self._store.proposals.renew_lease(
            proposal.id,
            attempt=proposal.lease.attempt,
            lease_seconds=self._lease_seconds,
            timeout_seconds=timeout_seconds,
        )

    async def _report(self, proposal: proposal_pb2.Proposal, outcome: Outcome, lease: _Lease) -> Execution:
        """Tell the store, again and again with one request_id while the lease holds, and once more then: a report
        whose answer was lost ended the lease itself, and the store says so."""
        request_id = new_request_id()
        result = _result_struct(outcome.result)
        while True:
            is_last = lease.lost or self._clock() >= lease.ends_at
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
            except LEASE_IS_LOST:
                return Execution(proposal, Ending.LEASE_LOST, outcome)
            except PlangateError as error:
                if is_last or is_refusal(error):
                    return Execution(proposal, Ending.NOT_REPORTED, outcome)
                pause = max(min(1.0, self._lease_seconds / 10), error.retry_after_seconds or 0.0)
            await asyncio.sleep(max(0.0, min(pause, lease.ends_at - self._clock())))


def _stopped(*, begun: bool) -> Outcome:
    return Outcome(
        reason="EXECUTOR_STOPPED",
        message=f"the executor was stopped {'while it worked' if begun else 'before it began'}",
        retryable=True,
        not_started=not begun,
    )


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
