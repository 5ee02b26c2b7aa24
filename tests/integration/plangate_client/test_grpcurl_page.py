"""docs/reference/grpcurl.md: every call of the contract is there, and each line of it works."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from plangate.planner.v1 import planner_service_pb2
from plangate.store.v1 import identity_service_pb2, store_service_pb2

from tests.support.model_server import says
from tests.support.pair import clean_environment, running_pair
from tests.support.processes import store_process

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "grpcurl.md").read_text(encoding="utf-8")
DEMO = ROOT / "examples" / "demo"
BLOCKS = re.findall(r"^```sh( queue)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def calls() -> set[str]:
    return {
        f"{service.full_name}/{method.name}"
        for file in (planner_service_pb2, store_service_pb2, identity_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_call_has_a_line() -> None:
    assert {call for call in calls() if call not in PAGE} == set()


async def run(script: str, **variables: str) -> None:
    """Every line must succeed."""
    environment = {**clean_environment(), **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euxo", "pipefail", "-c", script),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-3000:]


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_the_lines_work_in_their_order(tmp_path: Path) -> None:
    catalogue, policy = (DEMO / "catalogue.yaml").read_text(), (DEMO / "policy.yaml").read_text()
    script = "\n".join(block for queue, block in BLOCKS if not queue)
    async with running_pair(tmp_path, catalogue, policy=policy) as pair:
        job = {"action_name": "measure_disk_use", "action_args": {"directory": "logs"}, "depends_on": []}
        for _ in range(3):
            pair.model.script(says({"objective": "Measure.", "jobs": [job]}))
        await run(script, STORE=pair.store_address, PLANNER=pair.planner_address)


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_the_lines_of_the_queue_work(tmp_path: Path) -> None:
    script = "\n".join([BLOCKS[0][1], *(block for queue, block in BLOCKS if queue)])
    async with store_process(tmp_path) as store:
        await run(script, STORE=store.address)
