"""Claims proposals and keeps several of them running."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from plangate.store.v1 import proposal_pb2

from plangate_client.calls import new_request_id
from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError
from plangate_client.executor.catalogue import BoundCatalogue
from plangate_client.executor.execution import Execution, ExecutionEnvironment, LeaseHolder
from plangate_client.executor.refusals import is_refusal

# How long the last claim may take to say, once more, what it had leased.
_LAST_CLAIM_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much an executor does at once, and how long it waits."""

    parallel: int = 4
    lease_seconds: float = 30.0
    """A crashed executor's work is given to another one after this time."""
    wait_seconds: float = 20.0
    """How long one claim waits for a proposal to appear."""
    drain_seconds: float = 20.0
    """After a stop was asked for: how long what runs may take to finish before it is handed back."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Who is told what happens, in the executor's own task."""

    claimed: Callable[[proposal_pb2.Proposal], None] = lambda _: None
    ended: Callable[[Execution], None] = lambda _: None
    store_away: Callable[[PlangateError, float], None] = lambda _, __: None
    """The store cannot be reached; the next try is so many seconds away."""


class Executor:
    """Carries out approved proposals of the actions that its catalogue binds."""

    def __init__(
        self,
        store: StoreClient,
        catalogue: BoundCatalogue,
        environment: ExecutionEnvironment,
        *,
        pace: Pace | None = None,
        plan_id: str = "",
        observer: Observer | None = None,
    ) -> None:
        """:param plan_id: only proposals of this plan; empty means of any."""
        self._store = store
        self._action_names = sorted(catalogue.actions)
        self._pace = pace or Pace()
        self._plan_id = plan_id
        self._observer = observer or Observer()
        self._holder = LeaseHolder(store, catalogue.actions, environment, lease_seconds=self._pace.lease_seconds)
        self._running: set[asyncio.Task[None]] = set()
        self._hand_back = asyncio.Event()
        self._set = asyncio.Event()
        self._set.set()

    async def run(self, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Work until `stop` is set, then finish what runs, or hand it back after the drain time.

        :param until_idle: also stop when nothing can be claimed and nothing runs.
        :raises PlangateError: the store refuses the executor (no role, wrong token), after what runs has ended as at a
            stop. A store that is away, busy or slow is waited for.
        """
        refusal: PlangateError | None = None
        try:
            try:
                await self._claim_until(stop, until_idle)
            except PlangateError as error:
                refusal = error
            if self._running:
                await asyncio.wait(self._running, timeout=self._pace.drain_seconds)
        finally:
            self._hand_back.set()
            while self._running:
                await asyncio.wait(self._running)
        if refusal is not None:
            raise refusal

    def hand_back(self) -> None:
        """Do not wait for what runs: stop it and give it back to the store."""
        self._hand_back.set()

    async def _claim_until(self, stop: asyncio.Event, until_idle: bool) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                free = self._pace.parallel - len(self._running)
                if free == 0:
                    await asyncio.wait({stopping, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                    continue
                claimed = await self._claim(free, 0.0 if until_idle else self._pace.wait_seconds, stopping)
                if claimed or not until_idle:
                    continue
                if not self._running:
                    return
                # What runs may set free what depends on it.
                await asyncio.wait({stopping, *self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _claim(self, max_proposals: int, wait_seconds: float, stopping: asyncio.Task[bool]) -> bool:
        """Claim once, and start what was leased. Comes back early when `stopping` is done."""
        # One id for all tries: an answer that was lost is given again, and no lease is forgotten.
        request_id = new_request_id()
        leased_at = time.monotonic()
        pause_seconds = 0.5
        while True:
            call = asyncio.create_task(self._call(max_proposals, wait_seconds, request_id))
            await asyncio.wait({call, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                call.cancel()
                await asyncio.wait({call})
                # The store may have leased something just then: the same claim again says what, and does not wait.
                call = asyncio.create_task(self._call(max_proposals, 0.0, request_id))
                await asyncio.wait({call}, timeout=_LAST_CLAIM_SECONDS)
                if not call.done():
                    call.cancel()
                    await asyncio.wait({call})
                    return False
            try:
                proposals = call.result()
            except PlangateError as error:
                if is_refusal(error):
                    raise
                if stopping.done():
                    return False
                waited_seconds = max(pause_seconds, error.retry_after_seconds or 0.0)
                self._observer.store_away(error, waited_seconds)
                await asyncio.wait({stopping}, timeout=waited_seconds)
                if stopping.done():
                    return False
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
                continue
            # What was leased while the stop was asked for goes back unworked.
            hand_back = self._set if stopping.done() else self._hand_back
            for proposal in proposals:
                self._start(proposal, leased_at, hand_back)
            return bool(proposals)

    async def _call(self, max_proposals: int, wait_seconds: float, request_id: str) -> list[proposal_pb2.Proposal]:
        return await self._store.proposals.claim(
            action_names=self._action_names,
            max_proposals=max_proposals,
            lease_seconds=self._pace.lease_seconds,
            wait_seconds=wait_seconds or None,
            plan_id=self._plan_id,
            request_id=request_id,
        )

    def _start(self, proposal: proposal_pb2.Proposal, leased_at: float, hand_back: asyncio.Event) -> None:
        self._observer.claimed(proposal)
        task = asyncio.create_task(self._run(proposal, leased_at, hand_back))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, proposal: proposal_pb2.Proposal, leased_at: float, hand_back: asyncio.Event) -> None:
        self._observer.ended(await self._holder.run(proposal, leased_at=leased_at, hand_back=hand_back))
