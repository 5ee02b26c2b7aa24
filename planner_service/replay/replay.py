"""Makes the plans of a recording again, by the real generation, checks and policy, with the recorded replies.

No network and no clock: each request is made at its recorded time, by its recorded requester, and no waiting is done.
Replies are given in the order in which they came, also where today's request to the model is another than it was (the
prompt's template changed, say): then it shows what today's planner makes of the same replies, and says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from planner_service.api.status_mapping import reason_of
from planner_service.errors import PlanningRefused
from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.instructor_client import InstructorClient
from planner_service.generation.prompt.prompts import TEMPLATE_VERSION
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.providers.recording import (
    Exchange,
    Expected,
    RecordingInvalid,
    expecting,
    read_recording,
)
from planner_service.governance.files import GovernanceFiles
from planner_service.plan import PlanUpdate
from planner_service.planning.draft_cache import DraftCache
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.plan_generation import GenerationLimits, PlanGeneration
from planner_service.replay.plan_recording import (
    PlanRecord,
    RecordedFailure,
    RecordedSettings,
    failure_of,
    plan_json,
    read_record,
)

_PLAN_SECONDS = 600.0
_NO_REPLY_REASONS = frozenset({"PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is otherwise than recorded. job: its id, empty for the plan as a whole. None: not there."""

    job: str
    path: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One request made again. notes: what is worth knowing and no difference."""

    record: PlanRecord
    plan: dict[str, Any] | None
    failure: RecordedFailure | None
    attempts: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


class RecordedRun:
    """A recording, read and checked. Raises RecordingInvalid."""

    def __init__(self, path: Path) -> None:
        recording = read_recording(path)
        self._path = path
        self._exchanges = {exchange.id: exchange for exchange in recording.exchanges}
        self.records = tuple(read_record(path, line, entry) for line, entry in recording.plans)
        for (line, _), record in zip(recording.plans, self.records, strict=True):
            if missing := [each for each in record.exchanges if each not in self._exchanges]:
                raise RecordingInvalid(f"{path}:{line}: the recording lacks the exchange {missing[0]}")
        if not self.records:
            raise RecordingInvalid(f"{path}: there is no plan in it")
        self._shared = {record.generation: record for record in self.records if record.exchanges}

    async def replay(self, governance: GovernanceFiles) -> AsyncIterator[Replayed]:
        """Each request, in the order of the recording. Raises ProviderNotUsable for a model that is not known here."""
        instructor_clients: dict[RecordedSettings, InstructorClient] = {}
        try:
            for record in self.records:
                instructor_client = instructor_clients.get(record.settings)
                if instructor_client is None:
                    settings = record.settings.for_replay(self._path)
                    clients = ModelClients(settings)
                    for model in record.models:
                        clients.client(model)
                    instructor_client = instructor_clients[record.settings] = InstructorClient(
                        clients, settings, sleep=_no_sleep, review_profile=QWEN_CODER_PROFILE
                    )
                yield await self._made_again(record, instructor_client, governance)
        finally:
            for instructor_client in instructor_clients.values():
                await instructor_client.aclose()

    async def _made_again(
        self, record: PlanRecord, instructor_client: InstructorClient, governance: GovernanceFiles
    ) -> Replayed:
        generation = PlanGeneration(
            governance=governance,
            instructor_client=instructor_client,
            cache=DraftCache(max_bytes=0),
            clock=_RecordedClock(record.time),
            limits=GenerationLimits(
                models=record.models,
                allowed_models=frozenset(record.models),
                max_attempts=record.max_attempts,
                token_budget=record.token_budget,
            ),
            metrics=PlanningMetrics(CollectorRegistry(), reason_of),
        )
        expected = Expected(deque(self._replies(record)))
        plan = failure = None
        attempts = 0
        with expecting(expected):
            try:
                made = await generation.generate(
                    record.request,
                    requester=record.requester,
                    deadline=asyncio.get_running_loop().time() + _PLAN_SECONDS,
                    observer=_ignore if record.streamed else None,
                )
                plan = plan_json(made)
                attempts = len(made.report.attempts) if made.report else 0
            except (GenerationFailed, PlanningRefused) as error:
                failure = failure_of(error, reason_of)
                if isinstance(error, GenerationFailed) and error.report:
                    attempts = len(error.report.attempts)
        silent = record.failure is not None and (
            expected.exhausted or {record.failure.reason, failure.reason if failure else ""} <= _NO_REPLY_REASONS
        )
        return Replayed(
            record=record,
            plan=plan,
            failure=failure,
            attempts=attempts,
            differences=() if silent else tuple(_differences(record, plan, failure)),
            notes=tuple(_notes(record, expected, silent)),
        )

    def _replies(self, record: PlanRecord) -> list[Exchange]:
        with_replies = record if record.exchanges else self._shared.get(record.generation, record)
        return [self._exchanges[each] for each in with_replies.exchanges]


def _notes(record: PlanRecord, expected: Expected, silent: bool) -> Iterator[str]:
    if silent:
        yield "not comparable: no reply was recorded for its last attempt"
    if expected.changed:
        versions = ""
        if record.prompt_template_version != TEMPLATE_VERSION:
            versions = f": template {record.prompt_template_version} then, {TEMPLATE_VERSION} now"
        yield f"the request to the model differs from the recorded one{versions}"
    if expected.replies and not silent:
        yield f"{len(expected.replies)} recorded replies were not needed"


def _differences(
    record: PlanRecord, plan: dict[str, Any] | None, failure: RecordedFailure | None
) -> Iterator[Difference]:
    old_failure = None if record.failure is None else record.failure.reason
    new_failure = None if failure is None else failure.reason
    if old_failure != new_failure:
        yield Difference("", "failure", old_failure, new_failure)
    old, new = record.plan or {}, plan or {}
    if old and new:
        for name in ("objective", "no_action_reason", "warnings"):
            yield from _compared("", name, old.get(name), new[name])
    jobs = {job["id"]: job for job in old.get("jobs", ())}
    made = {job["id"]: job for job in new.get("jobs", ())}
    for job_id in dict.fromkeys((*jobs, *made)):
        yield from _compared(job_id, "", jobs.get(job_id), made.get(job_id))


def _compared(job: str, path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _compared(job, f"{path}.{name}" if path else name, old.get(name), new.get(name))
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _compared(job, f"{path}.{index}", one, other)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield Difference(job, path, old, new)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


@dataclass(frozen=True, slots=True)
class _RecordedClock:
    time: datetime

    def now(self) -> datetime:
        return self.time


def _ignore(_: PlanUpdate) -> None:
    """Observes as a caller of StreamPlan does: that makes it the same request to the model."""


async def _no_sleep(_: float) -> None:
    pass
