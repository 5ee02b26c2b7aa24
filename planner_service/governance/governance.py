"""Catalogue and policy as one: a plan is made, checked and decided under one `Governance`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from plangate_core.catalogue.catalogue import Action, Catalogue, Risk
from planner_service.governance.decision import Decision
from planner_service.governance.policy import Policy, Subject

_LONGEST_HOLD_SECONDS = 0.001


class GovernedJob(Protocol):
    """What policy looks at in a job."""

    @property
    def action_name(self) -> str: ...
    @property
    def action_args(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Governance:
    """What may be done, and who decides about it."""

    catalogue: Catalogue
    policy: Policy

    def decide(
        self, action_name: str, args: Mapping[str, Any], labels: Mapping[str, str], requester: str, now: datetime
    ) -> Decision:
        """What policy says of one job whose arguments were checked. An action that is gone counts as dangerous."""
        action = self.catalogue.find(action_name) or unknown_action(action_name)
        return self.policy.decide(Subject(action, args, labels, requester, now))

    async def decide_all(
        self, jobs: Iterable[GovernedJob], labels: Mapping[str, str], requester: str, now: datetime
    ) -> list[Decision]:
        """The decision about each job, in their order."""
        decisions = []
        others_waited_since = time.perf_counter()
        for job in jobs:
            decisions.append(self.decide(job.action_name, job.action_args, labels, requester, now))
            # A policy may think for tens of milliseconds about one job; a plan has up to a hundred. Usually it is
            # microseconds, and with many plans in flight each way round the loop takes longer than all decisions.
            if time.perf_counter() - others_waited_since > _LONGEST_HOLD_SECONDS:
                await asyncio.sleep(0)
                others_waited_since = time.perf_counter()
        return decisions


def unknown_action(name: str) -> Action:
    """Stands for an action that history knows and the catalogue does not."""
    return Action(name, "", {}, Risk.UNSPECIFIED, None)
