"""The nightly dump of the Kubernetes example, made while a store serves, and restored."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.databases import PostgresServer
from tests.support.served_store import job, planned, running_store

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "examples" / "deploy" / "kubernetes" / "postgres" / "backup.yaml"


@pytest.mark.asyncio
async def test_a_dump_made_beside_a_serving_store_is_restored_whole(
    postgres_server: PostgresServer, postgres_url: str, empty_postgres_url: str, tmp_path: Path
) -> None:
    job_of_the_night = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))[1]
    [container] = job_of_the_night["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    script = container["args"][0].replace("/backups", str(tmp_path))
    environment = {**os.environ, "PATH": f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}"}
    async with running_store(postgres_url) as served:
        await served.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job("a"))))
        await run([*container["command"], script], {**environment, "DATABASE_URL": postgres_url})
    dump = only_file_in(tmp_path)
    await run(["pg_restore", "--exit-on-error", "--dbname", empty_postgres_url, str(dump)], environment)
    checked = await run(
        [sys.executable, "-m", "store_service", "check"],
        {**environment, "PLANGATE_DATABASE_URL": empty_postgres_url},
    )
    assert checked.splitlines()[-1].startswith("sound")
    assert "2 events" in checked
    assert dump.suffix == ".dump"


def only_file_in(directory: Path) -> Path:
    [file] = directory.iterdir()
    return file


async def run(argv: list[str], environment: dict[str, str]) -> str:
    """What the command printed. Raises when it failed."""
    done = await asyncio.to_thread(
        subprocess.run, argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
