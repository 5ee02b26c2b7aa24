"""Carrying one proposal out: what is checked before its action runs, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from google.protobuf.struct_pb2 import Struct
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.errors import PlangateError
from plangate_client.executor.arguments import arguments_fault
from plangate_client.executor.catalogue import BoundAction, Function
from plangate_client.executor.consent import consent_fault, log_fault
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused
from plangate_client.leased_worker import Finished
from plangate_core.contract.struct_codec import JsonObject, StructRefused, json_to_struct, struct_to_json

_RESULT_LIMIT_BYTES = 60 * 1024


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
    try:
        if isinstance(action.binding, Function):
            return await action.binding.perform(proposal, args, item.begin)
        return await environment.run(action.binding, proposal, args, item.begin)
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


def result_struct(result: JsonObject) -> Struct:
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
