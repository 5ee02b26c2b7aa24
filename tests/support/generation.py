"""An InstructorClient over a model server, with a small catalogue, an observer that remembers, and no waiting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.attempts import Attempt, Finding
from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE
from planner_service.generation.instructor_client import GenerationRequest, InstructorClient
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.reply.draft import JobDraft, PlanDraft
from planner_service.generation.settings import GenerationSettings, ModelEndpoint
from tests.support.model_server import ModelServer

CATALOGUE_TEXT = """
version: 1
actions:
  - name: measure_disk_use
    description: Tell how much space a directory takes.
    risk: low
    parameters: {type: object, properties: {path: {type: string}}, required: [path]}
  - name: delete_file
    description: Delete one file for good.
    risk: high
    parameters: {type: object, properties: {path: {type: string}}, required: [path]}
"""

PLAN: dict[str, Any] = {
    "objective": "Make room on the disk",
    "jobs": [
        {"action_name": "measure_disk_use", "action_args": {"path": "/var/log"}},
        {"action_name": "delete_file", "action_args": {"path": "/var/log/old.log"}},
    ],
}

PROTOCOLS = ("openai-schema", "openai-tools", "anthropic")


def small_catalogue() -> Catalogue:
    return parse_catalogue(CATALOGUE_TEXT)


@dataclasses.dataclass
class Observed:
    """Everything an observer was told, in order; `jobs` is what stands after retractions."""

    news: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    jobs: dict[int, JobDraft] = dataclasses.field(default_factory=dict)

    def attempt_started(self, number: int, model: str) -> None:
        self.news.append(("started", (number, model)))

    def attempt_finished(self, attempt: Attempt) -> None:
        self.news.append(("finished", attempt))

    def job(self, job: JobDraft, index: int) -> None:
        assert index not in self.jobs, "told twice without a retraction"
        self.jobs[index] = job
        self.news.append(("job", (index, job)))

    def jobs_retracted(self, indexes: Sequence[int], reason: str) -> None:
        for index in indexes:
            del self.jobs[index]
        self.news.append(("retracted", (tuple(indexes), reason)))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.news]


class Bench:
    """An InstructorClient that talks to one model server in one protocol. `pauses` is how long it would have slept."""

    def __init__(self, server: ModelServer, protocol: str = "openai-schema", **settings: Any) -> None:
        prefix = "anthropic" if protocol == "anthropic" else "openai"
        self.model = f"{prefix}/test-model"
        defaults: dict[str, Any] = {
            "model": self.model,
            "base_url": server.anthropic_url if prefix == "anthropic" else server.openai_url,
            "api_key": "test-key",
            "mode": "json_schema" if protocol == "openai-schema" else "tools",
        }
        self.settings = GenerationSettings(**{**defaults, **settings})
        self.pauses: list[float] = []
        self.clients = ModelClients(
            self.settings, ModelEndpoint(server.openai_url, "embedded-key", "embedded-model", True)
        )
        self.instructor_client = InstructorClient(
            self.clients,
            self.settings,
            sleep=self._pause,
            jitter=lambda: 1.0,
            review_profile=QWEN_CODER_PROFILE,
        )
        self.catalogue = small_catalogue()

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def request(self, **changes: Any) -> GenerationRequest:
        defaults: dict[str, Any] = {
            "prompt": "free some space in /var/log",
            "context": {},
            "catalogue": self.catalogue,
            "model": self.model,
            "max_attempts": 3,
            "check": no_complaint,
        }
        return GenerationRequest(**{**defaults, **changes})

    async def __aenter__(self) -> Bench:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.instructor_client.aclose()


def no_complaint(_: PlanDraft) -> list[Finding]:
    return []
