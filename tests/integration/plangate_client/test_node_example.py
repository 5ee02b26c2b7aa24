"""A client in another language, from the .proto files alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.support.pair import clean_environment, running_pair

EXAMPLES = Path(__file__).parents[3] / "examples"
CATALOGUE = (EXAMPLES / "demo" / "catalogue.yaml").read_text()
POLICY = (EXAMPLES / "demo" / "policy.yaml").read_text()


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm")
@pytest.mark.asyncio
async def test_creates_approves_and_reads_a_plan(tmp_path: Path) -> None:
    async with running_pair(tmp_path, CATALOGUE, policy=POLICY) as pair:
        pair.script(
            ("measure_disk_use", {"directory": "logs"}),
            ("delete_file", {"path": "tmp/session.txt"}),
            objective="Tidy up.",
        )
        process = await asyncio.create_subprocess_exec(
            EXAMPLES / "node" / "run",
            *("--planner", pair.planner_address, "--store", pair.store_address, "tidy up"),
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(100):
            stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        lines = stdout.decode().splitlines()
        last = json.loads(lines[-1])
        assert last["state"] == "PLAN_STATE_PLANNED"
        assert last["proposals"] == {
            "measure_disk_use": "PROPOSAL_STATE_APPROVED",
            "delete_file": "PROPOSAL_STATE_APPROVED",
        }
        assert any("nadia may not approve it" in line for line in lines)
        async with pair.store() as store:
            plan = await store.plans.get(last["plan"])
            approved = await store.proposals.get(plan.jobs[1].proposal_id)
    assert plan.created_by == "nadia"
    assert [(approval.reviewer, approval.comment) for approval in approved.approvals] == [("rob", "from Node")]
