"""Carries out approved proposals of the actions that a catalogue binds, several at once."""

from __future__ import annotations

import asyncio

from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.executor.catalogue import BoundCatalogue
from plangate_client.executor.execution import Execution, LeasedProposal, Observer, ProposalQueue, execution_of
from plangate_client.executor.values import ExecutionEnvironment
from plangate_client.leased_queue import WorkerOptions
from plangate_client.leased_worker import LeasedWorker


class Executor:
    """Carries out approved proposals of the actions that its catalogue binds."""

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
        queue = ProposalQueue(
            store,
            catalogue.actions,
            environment,
            lease_seconds=options.lease_seconds,
            plan_id=plan_id,
            observer=observer or Observer(),
        )
        self._worker = LeasedWorker(queue, options)

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
