"""`plangate init`, `check` and `policy test`: from an empty directory to an own action, done after an own approval."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.documentation import ROOT, shell_blocks
from tests.support.model_server import ModelServer, says
from tests.support.pair import clean_environment

LISTEN = ("PLANGATE_STORE_LISTEN", "PLANGATE_PLANNER_LISTEN", "PLANGATE_INBOX_LISTEN")
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


def tutorial() -> list[str]:
    """The commands of docs/tutorial.md, as they are typed."""
    return [line for block in shell_blocks(ROOT / "docs" / "tutorial.md") for line in block.commands]


# The servers listen on free ports here, of which the page does not speak.
LEARN_ADDRESSES = """
until grep -q ^inbox up.log; do kill -0 "${children[0]}"; sleep 0.1; done
export PLANGATE_STORE_TARGET=$(awk '/^store/ {print $2}' up.log)
export PLANGATE_PLANNER_TARGET=$(awk '/^planner/ {print $2}' up.log)
"""


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_the_tutorial_is_typed(tmp_path: Path) -> None:
    """From a clone to an own action, carried out by an own Python worker after an own approval, in ten commands of one
    terminal."""
    [demo, activate, *commands] = tutorial()
    assert (demo, activate) == ("make demo", ". .venv/bin/activate"), "CI runs the one, this process did the other"
    path = commands[: commands.index("cat refunds.txt")]
    assert len([demo, activate, *path]) <= 10
    refund = {"action_name": "refund_order", "action_args": {"order_id": "4711", "amount": 89.9}, "depends_on": []}
    typed = []
    for command in commands:
        if command.startswith("plangate up "):
            typed += [f"{command} > up.log & children+=($!)", LEARN_ADDRESSES]
        elif command.startswith("plangate work "):
            typed.append(f"{command} & children+=($!)")
        elif command.startswith("plangate approve ID"):
            typed += [
                'ID=$(plangate inbox --as bob | awk "NR == 2 {print \\$1}")',
                f"{command.replace('ID', '$ID')} --yes",
                "until [ -s refunds.txt ]; do sleep 0.1; done",
            ]
        else:
            typed.append(command.replace(" ID", " $ID"))
    script = "\n".join(["children=()", "trap 'kill ${children[@]}; wait' EXIT", *typed])
    async with ModelServer() as model:
        model.script(says({"objective": "Refund.", "jobs": [refund]}))
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euxo", "pipefail", "-c", script),
            cwd=tmp_path,
            env={
                **clean_environment(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **dict.fromkeys(LISTEN, "127.0.0.1:0"),
                "PLANGATE_DATABASE_URL": f"sqlite:///{tmp_path}/plangate.db",
                "PLANGATE_MODEL": "openai/test-model",
                "PLANGATE_MODEL_BASE_URL": model.openai_url,
                "PLANGATE_MODEL_API_KEY": "not-a-secret",
                "PLANGATE_ACTOR": "alice",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output[-4000:]
    assert "needs 1 approval" in output
    assert "4 passed, 0 failed" in output
    assert (tmp_path / "desk" / "refunds.txt").read_text().startswith("4711 89.9 ")


@pytest.mark.asyncio
async def test_what_init_writes_is_sound(tmp_path: Path) -> None:
    made = await asyncio.to_thread(plangate, tmp_path, "init", "shop")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.count("plangate up") == made.stdout.count("plangate work") == 1
    project = tmp_path / "shop"
    checked, written, again = await asyncio.gather(
        asyncio.to_thread(plangate, project, "check", "--strict", *FILES),
        asyncio.to_thread(plangate, project, "catalogue", "from-worker", "actions"),
        asyncio.to_thread(plangate, tmp_path, "init", "shop"),
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    # What the catalogue says of the Python action is what its signature says.
    [own] = yaml.safe_load(written.stdout)["actions"]
    catalogue = yaml.safe_load((project / "catalogue.yaml").read_text())
    assert own in catalogue["actions"]
    assert again.returncode == 4
    assert "nothing is overwritten" in again.stderr
    nothing = await asyncio.to_thread(plangate, project, "up")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "which actions? Give --catalogue FILE" in nothing.stderr


def test_a_compose_file_that_compose_can_read(tmp_path: Path) -> None:
    assert plangate(tmp_path, "init", "My Shop!").returncode == 0
    compose = yaml.safe_load((tmp_path / "My Shop!" / "docker-compose.yml").read_text())
    assert compose["name"] == "my-shop"
    assert set(compose["services"]) == {"servers", "executor"}
