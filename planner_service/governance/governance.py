"""Catalogue and policy as one: a plan is made, checked and decided under one `Governance`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from plangate_core.catalogue.catalogue import Action, Catalogue, Risk, digest_of
from planner_service.governance.decision import Decision
from planner_service.governance.policy import Policy
from planner_service.governance.policy_rule import Subject

_LONGEST_HOLD_SECONDS = 0.001


class GovernedJob(Protocol):
    """What policy looks at in a job."""

    @property
    def action_name(self) -> str: ...
    @property
    def action_args(self) -> Mapping[str, Any]: ...
    @property
    def assumed(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Governance:
    """What may be done, and who decides about it."""

    catalogue: Catalogue
    policy: Policy

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of catalogue and policy as one."""
        return digest_of([self.catalogue.digest, self.policy.digest])

    def decide(self, job: GovernedJob, labels: Mapping[str, str], requester: str, now: datetime) -> Decision:
        """The policy's decision about one job, whose arguments were checked. An action that is gone is of high risk."""
        action = self.catalogue.find(job.action_name) or unknown_action(job.action_name)
        decision = self.policy.decide(Subject(action, job.action_args, labels, requester, now, job.assumed))
        return replace(decision, governance_digest=self.digest)

    async def decide_all(
        self, jobs: Iterable[GovernedJob], labels: Mapping[str, str], requester: str, now: datetime
    ) -> list[Decision]:
        """The decision about each job, in their order."""
        decisions = []
        others_waited_since = time.perf_counter()
        for job in jobs:
            decisions.append(self.decide(job, labels, requester, now))
            # A policy may think for tens of milliseconds about one job; a plan has up to a hundred. Usually it is
            # microseconds, and with many plans in flight each way round the loop takes longer than all decisions.
            if time.perf_counter() - others_waited_since > _LONGEST_HOLD_SECONDS:
                await asyncio.sleep(0)
                others_waited_since = time.perf_counter()
        return decisions


def unknown_action(name: str) -> Action:
    """Stands for an action that history knows and the catalogue does not."""
    return Action(name, "", {}, Risk.UNSPECIFIED, None)
