"""Carries out approved proposals of the actions that a catalogue binds, several at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.errors import (
    Conflict,
    InternalFailure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PlangateError,
    PreconditionFailed,
    Unauthenticated,
    Unimplemented,
)
from plangate_client.executor.catalogue import BoundCatalogue
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.execution import (
    Execution,
    LeasedProposal,
    Observer,
    execute,
    execution_of,
    result_struct,
)
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.reconciliation import Reconciler
from plangate_client.leased_worker import FailureKind, Finished, Interruption, LeasedWorker, WorkerOptions

_MESSAGE_CHARACTERS = 2000
_EVENTS_AT_ONCE = 100
# What the store says of a lease that the executor does not hold, or does not hold any more.
_LEASE_IS_LOST = (Conflict, NotFound, PreconditionFailed)
# The same call would be answered in the same way again. All else, a store that is away, busy or slow, and a commit
# whose outcome is unknown, is worth another try with the same request_id.
_REFUSALS = (InvalidRequest, PermissionDenied, Unauthenticated, Unimplemented, InternalFailure)
_log = logging.getLogger(__name__)


class Executor:
    """Carries out approved proposals of the actions that its catalogue binds: a LeasedQueue for its LeasedWorker."""

    def __init__(
        self,
        store: StoreClient,
        catalogue: BoundCatalogue,
        environment: ExecutionEnvironment,
        *,
        options: WorkerOptions | None = None,
        plan_id: str = "",
        observer: Observer | None = None,
    ) -> None:
        """:param plan_id: only proposals of this plan; empty means of any."""
        options = options or WorkerOptions()
        self._store = store
        self._actions = catalogue.actions
        self._environment = environment
        self._lease_seconds = options.lease_seconds
        self._plan_id = plan_id
        self._observer = observer or Observer()
        self._reconciler = Reconciler(
            store, catalogue.actions, environment, plan_id=plan_id, grace_seconds=options.lease_seconds
        )
        self._worker = LeasedWorker(self, options)

    async def run(self, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Work until `stop` is set, then finish what runs, or release it after the drain time.

        :param until_idle: also stop when nothing can be claimed and nothing runs.
        :raises PlangateError: the store refuses the executor (no role, wrong token), after what runs has ended as at a
            stop. A store that is away, busy or slow is waited for.
        """
        await self._worker.run(stop, until_idle=until_idle)

    def release(self) -> None:
        """Do not wait for what runs: stop it and release its leases."""
        self._worker.release()

    async def carry_out(self, proposal: proposal_pb2.Proposal, *, leased_at: float) -> Execution:
        """Carry one leased proposal out and report.

        :param leased_at: time.monotonic() before the claim was sent.
        """
        item = LeasedProposal(proposal)
        return execution_of(item, await self._worker.run_one(item, leased_at=leased_at))

    async def claim(self, max_items: int, *, wait_seconds: float, request_id: str) -> Sequence[LeasedProposal]:
        await self._reconciler.look()
        proposals = await self._store.proposals.claim(
            action_names=sorted(self._actions),
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
        proposal, struct = item.proposal, result_struct(result.result)
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
        if isinstance(error, _LEASE_IS_LOST):
            return FailureKind.LEASE_LOST
        if not isinstance(error, PlangateError) or isinstance(error, _REFUSALS):
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
