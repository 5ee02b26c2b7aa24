"""Decisions are made again when policy or catalogue change: a step that was allowed may be denied by now.

The store hands out only what was decided under the governance that a planner put in force last. This loop puts it
there, decides again about every proposal that is not finished, and about those whose rules look at the time while they
wait for an executor. See docs/decisions/0031.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from plangate_core.catalogue.policy_effect import Effect
from plangate_core.contract.limits import MAX_BATCH, MAX_DESCRIPTION_CHARACTERS
from plangate_core.process.clock import Clock
from planner_service.governance.decision import Decision, joined_names
from planner_service.governance.files import GovernanceFiles
from planner_service.governance.governance import Governance
from planner_service.governance.policy import most_severe
from planner_service.plan import OpenProposal, Reconsidered
from planner_service.planning.checking.checks import check_args
from planner_service.store_gateway import StoreGateway

T = TypeVar("T")

_PASS_SECONDS = 2.0
# What a filter of the store can name.
_IDS_AT_ONCE = 50
# Writes of other store processes may become visible a little later than their time says.
_OVERLAP = timedelta(seconds=10)

_log = structlog.get_logger(__name__)


class Reconsideration:
    """One loop in one planner. `wake` after a reload."""

    def __init__(self, files: GovernanceFiles, store: StoreGateway, clock: Clock, planner_identity: str) -> None:
        self._files = files
        self._store = store
        self._clock = clock
        self._planner_identity = planner_identity
        self._put_in_force = ""
        self._changed_since: datetime | None = None
        self._time_dependent: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Begin the next pass now."""
        self._woken.set()

    async def run(self) -> None:
        """A pass every two seconds, until cancelled. A pass that fails is made again."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                await self.pass_once()
                failures = 0
            except Exception as error:
                failures += 1
                # Once an outage, not once a pass.
                if failures == 1:
                    _log.warning("decisions cannot be made again: trying until they can", cause=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PASS_SECONDS):
                    await self._woken.wait()

    async def pass_once(self) -> int:
        """Decide again about what needs it. Returns about how many proposals a new decision was sent."""
        governance = self._files.current
        if governance.digest != self._put_in_force:
            await self._store.put_in_force(governance.digest)
            self._put_in_force, self._changed_since = governance.digest, None
        elif await self._store.governance_in_force() != governance.digest:
            # Another planner of this identity has other files, and read them later.
            return 0
        due: list[Reconsidered] = []
        sent = 0
        newest = self._changed_since
        waiting = self._time_dependent
        self._time_dependent = set()
        async for proposal in self._store.open_proposals(self._changed_since):
            waiting.discard(proposal.id)
            newest = max(newest or proposal.update_time, proposal.update_time)
            due += self._decide_again(proposal, governance)
            if len(due) >= MAX_BATCH:
                await self._store.reconsider(due[:MAX_BATCH])
                sent, due = sent + MAX_BATCH, due[MAX_BATCH:]
                # Deciding about a long backlog must not hold other calls up.
                await asyncio.sleep(0)
        for ids in _batches(sorted(waiting), _IDS_AT_ONCE):
            for proposal in await self._store.proposals(ids):
                due += self._decide_again(proposal, governance)
        for entries in _batches(due):
            await self._store.reconsider(entries)
        if newest is not None:
            self._changed_since = newest - _OVERLAP
        return sent + len(due)

    def _decide_again(self, proposal: OpenProposal, governance: Governance) -> list[Reconsidered]:
        """The new decision, where the store must have it."""
        before = proposal.job.decision
        if before is None or proposal.decided_by != self._planner_identity:
            return []
        is_current = before.governance_digest == governance.digest
        if is_current and not (before.time_dependent and proposal.is_approved):
            return []
        decision = decided_now(proposal, governance, self._clock.now())
        if decision.time_dependent and proposal.is_approved:
            self._time_dependent.add(proposal.id)
        if is_current and (decision.effect, decision.requirements) == (before.effect, before.requirements):
            return []
        return [Reconsidered(proposal.id, proposal.version, decision)]


def decided_now(proposal: OpenProposal, governance: Governance, now: datetime) -> Decision:
    """What policy and catalogue say of a proposal now, for each identity that wrote it."""
    job = proposal.job
    _, errors = check_args(job.action_name, job.action_args, governance.catalogue)
    if errors:
        reason = f"the catalogue refuses it by now: {errors[0].path}: {errors[0].message}"
        rule = joined_names([f"catalogue:{job.action_name}"])
        refused = Decision(Effect.DENY, rule, reason[:MAX_DESCRIPTION_CHARACTERS])
        return replace(refused, governance_digest=governance.digest)
    return most_severe([governance.decide(job, proposal.labels, identity, now) for identity in proposal.requesters])


def _batches(entries: Sequence[T], size: int = MAX_BATCH) -> list[Sequence[T]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]
