"""What a planner's metrics endpoint says of plans, made and not made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from plangate_client.errors import PlangateError
from tests.support.model_server import fails, hangs, refuses, says
from tests.support.planner_house import PlannerHouse, asking, draft, job, open_house
from tests.support.ports import unused_port

LOOK = ("read_status", {"service": "web"})
WRONG = ("restart_service", {})


@dataclass
class Measured:
    house: PlannerHouse
    url: str

    async def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Label values, in the order of the labels' names -> value, but for what is 0."""
        async with aiohttp.ClientSession() as session, session.get(self.url) as answer:
            text = await answer.text()
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.value
        }


@pytest_asyncio.fixture
async def measured(tmp_path: Path) -> AsyncIterator[Measured]:
    port = unused_port()
    async with open_house(tmp_path, metrics_listen=f"127.0.0.1:{port}", kernel_concurrency=1) as house:
        house.answers(LOOK)
        yield Measured(house, f"http://127.0.0.1:{port}/metrics")


@pytest.mark.asyncio
async def test_failures_are_counted_with_their_reasons(measured: Measured) -> None:
    house = measured.house
    planner = house.planner()
    await planner.create_plan(asking("look"))
    await planner.create_plan(asking("look closer", validate_only=True))
    house.model.script(
        refuses(),
        fails(429, retry_after=60),
        *[says(draft(WRONG)) for _ in range(2)],
        fails(503),
    )
    for number, fields in enumerate(({}, {"max_attempts": 1}, {"max_attempts": 2}, {"max_attempts": 1})):
        with pytest.raises(PlangateError):
            await planner.create_plan(asking(f"look {number}", **fields))
    with pytest.raises(PlangateError):
        await planner.create_plan(asking("look", model="openai/gpt-9"))
    with pytest.raises(PlangateError):
        await planner.submit_plan("Do it", [job("restart_service")])
    house.model.default = hangs()
    call = planner._stub.CreatePlan(asking("look away"))
    await house.model.until(lambda: house.model.in_flight == 1)
    call.cancel()
    await house.model.until(lambda: house.model.in_flight == 0)
    assert await measured.samples("plangate_plans_total") == {
        ("PLANNED",): 1,
        ("VALIDATED",): 1,
        ("MODEL_REFUSED",): 1,
        ("PROVIDER_RATE_LIMITED",): 1,
        ("PLAN_INVALID",): 1,
        ("PROVIDER_UNAVAILABLE",): 1,
        ("MODEL_NOT_ALLOWED",): 1,
        ("JOB_INVALID",): 1,
        ("CANCELLED",): 1,
    }
    model = "openai/test-model"
    assert await measured.samples("plangate_model_attempts_total") == {
        (model, "VALID"): 2,
        (model, "REFUSED"): 1,
        (model, "RATE_LIMITED"): 1,
        (model, "INVALID_MEANING"): 2,
        (model, "PROVIDER_ERROR"): 1,
    }
    assert await measured.samples("plangate_generation_seconds_count") == {(): 2}


@pytest.mark.asyncio
async def test_a_generation_that_callers_share_is_counted_once(measured: Measured) -> None:
    gate = asyncio.Event()
    house = measured.house
    house.model.script(says(draft(LOOK), gate=gate))
    planner = house.planner()
    calls = [asyncio.create_task(planner.create_plan(asking("look"))) for _ in range(3)]
    await house.model.until(lambda: house.model.in_flight == 1)
    async with asyncio.timeout(10):
        while await measured.samples("plangate_draft_cache_lookups_total") != {("miss",): 3.0}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*calls)
    assert len(house.model.requests) == 1
    assert await measured.samples("plangate_model_attempts_total") == {("openai/test-model", "VALID"): 1}
    assert await measured.samples("plangate_plans_total") == {("PLANNED",): 3}


@pytest.mark.asyncio
async def test_queued_plans_that_fail_are_counted_too(measured: Measured) -> None:
    house = measured.house
    house.model.default = refuses()
    await house.planner().enqueue_plan(asking("look"))
    async with asyncio.timeout(10):
        while await measured.samples("plangate_plans_total") != {("MODEL_REFUSED",): 1.0}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_the_catalogue_and_the_policy_in_force_are_named_by_their_digests(measured: Measured) -> None:
    house = measured.house
    governance = house.planners[0].governance
    before = (governance.current.catalogue.digest, governance.current.policy.digest)
    assert await measured.samples("plangate_governance_info") == {before: 1}
    house.policy_file.write_text("version: 1\nrules: [{name: frozen, effect: deny, reason: code freeze}]\n")
    async with asyncio.timeout(10):
        while governance.current.policy.digest == before[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    after = (before[0], governance.current.policy.digest)
    async with asyncio.timeout(10):
        while await measured.samples("plangate_governance_info") != {after: 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
