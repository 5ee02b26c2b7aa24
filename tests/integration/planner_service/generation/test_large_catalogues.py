"""A catalogue that is more than a model reads is cut visibly: in the report, and in what a refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.reply.draft import NO_MATCHING_ACTION
from tests.support.generation import PLAN, Bench
from tests.support.model_server import ModelServer, fails, says

REFUSAL = {"jobs": [{"action_name": NO_MATCHING_ACTION, "action_args": {"reason": "Nothing fits."}}]}


def large_catalogue() -> Catalogue:
    path = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    actions: list[dict[str, Any]] = [
        {"name": f"other_{number}", "description": f"Something else, number {number}. " + "Words. " * 20}
        for number in range(200)
    ]
    actions += [
        {"name": "measure_disk_use", "description": "Tell how much space a directory takes.", "parameters": path},
        {"name": "delete_file", "description": "Delete one file for good.", "parameters": path},
    ]
    return parse_catalogue(json.dumps({"version": 1, "actions": actions}))


@pytest.mark.asyncio
async def test_the_report_and_a_refusal_say_how_much_was_shown() -> None:
    catalogue = large_catalogue()
    async with ModelServer(default=says(REFUSAL)) as server, Bench(server, catalogue_characters=3_000) as bench:
        result = await bench.instructor_client.generate_plan(bench.request(catalogue=catalogue))
        whole = await bench.instructor_client.generate_plan(bench.request())
    shown, shortened = result.report.actions_shown, result.report.actions_shortened
    assert 20 < shown < 202
    assert 10 < shortened < shown
    assert result.report.actions_in_catalogue == 202
    assert result.draft.no_action_reason == (
        f"Nothing fits. ({shown} of 202 actions were shown to the model, {shortened} of them shortened)"
    )
    assert whole.draft.no_action_reason == "Nothing fits."
    report = whole.report
    assert (report.actions_shown, report.actions_in_catalogue, report.actions_shortened) == (2, 2, 0)


@pytest.mark.asyncio
async def test_what_fits_the_request_is_among_what_is_shown() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, catalogue_characters=3_000) as bench:
        asked = bench.request(
            catalogue=large_catalogue(), prompt="measure the disk use of /var/log, delete file old.log"
        )
        result = await bench.instructor_client.generate_plan(asked)
    assert [job.action_name for job in result.draft.jobs] == ["measure_disk_use", "delete_file"]
    assert result.draft.no_action_reason == ""
    system = server.requests[0].messages[0]["content"]
    assert "delete_file: Delete one file for good.\n  - path (string, required)" in system
    assert len(system) < 5_000


@pytest.mark.asyncio
async def test_each_model_is_shown_what_it_reads() -> None:
    catalogue = large_catalogue()
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(fails(401))
        asked = bench.request(
            catalogue=catalogue, prompt="measure the disk use, delete the file", fallback_models=("embedded",)
        )
        result = await bench.instructor_client.generate_plan(asked)
    first, second = (len(request.messages[0]["content"]) for request in (server.requests[0], server.requests[-1]))
    assert first > 30_000
    assert second < 8_000
    assert result.report.model == "embedded"
    assert 0 < result.report.actions_shortened < result.report.actions_shown <= 202
