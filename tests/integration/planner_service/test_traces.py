"""What traces tell of a plan."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest


@pytest.mark.asyncio
async def test_each_attempt_at_a_model_is_a_span_within_its_call_and_holds_no_texts(tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.recorded_spans", str(tmp_path), stdout=pipe, stderr=pipe
    )
    printed, logged = await process.communicate()
    assert process.returncode == 0, logged
    spans = [json.loads(line) for line in printed.splitlines()]
    refused, planned = (span for span in spans if span["name"] == "plangate.planner.v1.PlannerService/CreatePlan")
    rejected, invalid, valid = (span for span in spans if span["name"] == "chat openai/test-model")
    assert [span["parent"] for span in (invalid, valid, rejected)] == [planned["id"], planned["id"], refused["id"]]
    assert [span["plangate.attempt"] for span in (invalid, valid, rejected)] == [1, 2, 1]
    assert (invalid["error.type"], invalid["status"]) == ("json_invalid", "json_invalid")
    assert (valid["gen_ai.usage.input_tokens"], valid["gen_ai.usage.output_tokens"]) == (50, 20)
    assert "error.type" not in valid
    assert (valid["gen_ai.provider.name"], valid["gen_ai.request.model"]) == ("openai", "test-model")
    assert rejected["error.type"] == "credentials_rejected"
    assert not any(span["events"] for span in spans)
    # From a client's call to the commit: one tree.
    [client] = (span for span in spans if span["name"] == "client")
    [stored] = (span for span in spans if span["name"] == "plangate.store.v1.PlanService/CreatePlan")
    [written] = (span for span in spans if span["name"] == "write" and span["plangate.method"] == "CreatePlan")
    assert (planned["parent"], stored["parent"], written["parent"]) == (client["id"], planned["id"], stored["id"])
    for secret in (b"secret", b"sk-", b"look"):
        assert secret not in printed + logged
