"""The embedded model for real. Skipped where its weights were not pulled."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.embedded.engine import EmbeddedEngine, EngineFailed, check_memory
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import ModelMissing, find_weights
from planner_service.generation.errors import PromptTooLong
from planner_service.generation.instructor_client import GenerationRequest, GenerationResult, InstructorClient
from planner_service.generation.prompt.prompts import build_messages
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.settings import GenerationSettings
from planner_service.planning.checking.checks import check_jobs, jobs_of_draft
from tests.support.polling import until

CATALOGUE = parse_catalogue("""
version: 1
actions:
  - name: restart_service
    description: Restart a service on one host.
    parameters:
      properties: {service: {type: string}, host: {type: string}}
      required: [service, host]
  - name: post_message
    description: Post a message to a chat channel.
    parameters:
      properties: {channel: {type: string, description: 'Its name with the #.'}, text: {type: string}}
      required: [channel, text]
  - name: rollback_deployment
    description: Roll a deployment back to the revision before.
    parameters:
      properties: {deployment: {type: string}}
      required: [deployment]
""")
ODD_SCHEMAS: dict[str, Any] = {
    "enum_of_all_kinds": {"properties": {"a": {"enum": ["x", 1, None, True]}}, "required": ["a"]},
    "free_map": {"properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}}},
    "pattern": {"properties": {"host": {"type": "string", "pattern": r"^web-\d{1,3}$"}}, "required": ["host"]},
    "look_ahead_free_text": {"properties": {"t": {"type": "string", "pattern": "^[^a]+(b|c)*$", "minLength": 3}}},
    "long_text": {"properties": {"t": {"type": "string", "minLength": 1, "maxLength": 100000}}},
    "tuple": {"properties": {"at": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]}}},
    "alternatives": {
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "recursive": {
        "properties": {"tree": {"$ref": "#/$defs/tree"}},
        "$defs": {
            "tree": {"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
        },
    },
    "numbers": {
        "properties": {
            "n": {"type": "integer", "exclusiveMinimum": 0, "maximum": 99999},
            "x": {"type": "number", "minimum": 0.5},
        },
        "required": ["n"],
    },
    "anything": {"properties": {"value": {}}},
    "nothing": {},
}

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[EmbeddedEngine]:
    settings = EmbeddedSettings(context_tokens=4096)
    try:
        path = find_weights(settings)
        check_memory(path, settings)
    except (ModelMissing, EngineFailed) as reason:
        pytest.skip(str(reason))
    engine = await EmbeddedEngine.start(path, settings)
    yield engine
    await engine.close()


async def plan(engine: EmbeddedEngine, catalogue: Catalogue, prompt: str) -> GenerationResult:
    settings = GenerationSettings(attempt_timeout_seconds=300)
    clients = ModelClients(settings, engine.endpoint)
    instructor_client = InstructorClient(clients, settings, review_profile=engine.review_profile)
    try:
        return await instructor_client.generate_plan(
            GenerationRequest(
                prompt=prompt,
                context={},
                catalogue=catalogue,
                model=EMBEDDED,
                max_attempts=2,
                check=lambda draft: check_jobs(jobs_of_draft(draft), catalogue)[1],
            )
        )
    finally:
        await instructor_client.aclose()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_becomes_jobs_the_same_every_time(engine: EmbeddedEngine) -> None:
    await engine.warm_up(build_messages("Say hello.", {}, CATALOGUE))
    prompt = "Restart nginx on web-1, then post 'nginx is back' in #ops."
    first = await plan(engine, CATALOGUE, prompt)
    assert [(job.action_name, job.action_args) for job in first.draft.jobs] == [
        ("restart_service", {"service": "nginx", "host": "web-1"}),
        ("post_message", {"channel": "#ops", "text": "nginx is back"}),
    ]
    again = await plan(engine, CATALOGUE, prompt)
    assert again.draft == first.draft


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_that_fits_no_action_says_so(engine: EmbeddedEngine) -> None:
    result = await plan(engine, CATALOGUE, "Write me a poem about the sea.")
    assert result.draft.jobs == ()
    assert result.draft.no_action_reason


@pytest.mark.asyncio(loop_scope="module")
async def test_odd_schemas_make_grammars_that_llama_cpp_takes(engine: EmbeddedEngine) -> None:
    actions = [
        {"name": name, "description": f"Does {name}.", "parameters": {"type": "object", **schema}}
        for name, schema in ODD_SCHEMAS.items()
    ]
    catalogue = parse_catalogue(yaml.safe_dump({"version": 1, "actions": actions}, sort_keys=False))
    result = await plan(engine, catalogue, "Do pattern with host web-12.")
    assert [(job.action_name, job.action_args) for job in result.draft.jobs] == [("pattern", {"host": "web-12"})]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_process_is_started_again_at_the_same_address(engine: EmbeddedEngine) -> None:
    before, endpoint = engine.process_id, engine.endpoint
    os.kill(before, signal.SIGKILL)

    await until(lambda: engine.ready and engine.process_id != before, timeout_seconds=300)
    assert engine.endpoint == endpoint
    result = await plan(engine, CATALOGUE, "Roll back checkout.")
    assert [job.action_name for job in result.draft.jobs] == ["rollback_deployment"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_prompt_that_is_too_long_says_so_at_once(engine: EmbeddedEngine) -> None:
    with pytest.raises(PromptTooLong) as caught:
        await plan(engine, CATALOGUE, "Restart nginx on web-1. " * 1_000)
    assert caught.value.report is not None
    assert len(caught.value.report.attempts) == 1
