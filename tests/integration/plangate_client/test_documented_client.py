"""The program in docs/reference/api.md does what it says."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.pair import clean_environment, running_pair

ROOT = Path(__file__).parents[3]


@pytest.mark.asyncio
async def test_the_documented_program(tmp_path: Path) -> None:
    [program] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8"), re.DOTALL
    )
    ops = ROOT / "examples" / "ops"
    catalogue, policy = ((ops / name).read_text(encoding="utf-8") for name in ("catalogue.yaml", "policy.yaml"))
    async with running_pair(tmp_path, catalogue, policy=policy) as pair:
        pair.script(("restart_service", {"service": "checkout", "environment": "production"}))
        for documented, running in (("127.0.0.1:50052", pair.planner_address), ("127.0.0.1:50051", pair.store_address)):
            assert documented in program
            program = program.replace(documented, running)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    job, approved = stdout.decode().splitlines()
    assert job.startswith("restart_service {")
    assert job.endswith("changes in production take one other person")
    assert approved == "approved as version 2"
