"""`plangate init`, `check` and `policy test`: from an empty directory to an own action, done after an own approval."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.pair import clean_environment, running_pair

FILES = ("--catalogue", "catalogue.yaml", "--policy", "policy.yaml")


def plangate(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plangate_client", *arguments],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.asyncio
async def test_from_nothing_to_an_own_action_after_an_own_approval(tmp_path: Path) -> None:
    made = await asyncio.to_thread(plangate, tmp_path, "init", "shop")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.count("plangate up") == made.stdout.count("plangate work") == 1
    project = tmp_path / "shop"
    checked, tested, written = await asyncio.gather(
        asyncio.to_thread(plangate, project, "check", "--strict", *FILES),
        asyncio.to_thread(plangate, project, "policy", "test", "policy_tests.yaml", *FILES),
        asyncio.to_thread(plangate, project, "catalogue", "from-worker", "actions"),
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert (tested.returncode, tested.stdout.splitlines()[-1]) == (0, "4 passed, 0 failed")
    catalogue, policy = ((project / name).read_text() for name in ("catalogue.yaml", "policy.yaml"))
    # What the catalogue says of the Python action is what its signature says.
    [own] = yaml.safe_load(written.stdout)["actions"]
    [listed] = [action for action in yaml.safe_load(catalogue)["actions"] if action["name"] == own["name"]]
    assert listed == own
    async with running_pair(project, catalogue, policy=policy) as pair:
        pair.script(("refund_order", {"order_id": "4711", "amount": 89.9}))
        planned = await pair.command("plan", "refund order 4711 with 89.90 euros")
        assert "needs 1 approval" in planned.stdout
        [proposal] = (await pair.command("inbox", actor="bob")).stdout.splitlines()[1:2]
        approved = await pair.command("approve", proposal.split()[0], "--yes", actor="bob")
        assert approved.status == 0, approved.stderr
        worked = await pair.command("work", "--catalogue", "catalogue.yaml", "--worker", "actions", "--once")
        assert worked.status == 0, worked.stderr
    assert (project / "refunds.txt").read_text().startswith("4711 89.9 ")
    again = await asyncio.to_thread(plangate, tmp_path, "init", "shop")
    assert again.returncode == 4
    assert "nothing is overwritten" in again.stderr


def test_a_compose_file_that_compose_can_read(tmp_path: Path) -> None:
    assert plangate(tmp_path, "init", "My Shop!").returncode == 0
    compose = yaml.safe_load((tmp_path / "My Shop!" / "docker-compose.yml").read_text())
    assert compose["name"] == "my-shop"
    assert set(compose["services"]) == {"servers", "executor"}
