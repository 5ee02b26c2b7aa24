"""`python -m planner_service`, as an operator meets it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.planner_house import CATALOGUE, POLICY


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "planner_service",
        *arguments,
        env={**clean, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.asyncio
async def test_checking_and_refusing(tmp_path: Path) -> None:
    catalogue, policy, bad = (tmp_path / name for name in ("catalogue.yaml", "policy.yaml", "bad.yaml"))
    catalogue.write_text(CATALOGUE)
    policy.write_text(POLICY)
    bad.write_text("version: 1\nrules: [{name: a, effect: allow, when: '1 +'}]")
    files = {"PLANGATE_CATALOGUE_FILE": str(catalogue), "PLANGATE_POLICY_FILE": str(policy)}
    odd = tmp_path / "odd.yaml"
    odd.write_text(CATALOGUE.replace("minimum: 1, default: 1", "minimum: 1, default: 0"))
    good, warned, refused, unset, wrong = await asyncio.gather(
        run("check", **files),
        run("check", **{**files, "PLANGATE_CATALOGUE_FILE": str(odd)}),
        run("check", **{**files, "PLANGATE_POLICY_FILE": str(bad)}),
        run(PLANGATE_MODEL="openai/x"),
        run("serve", **files, PLANGATE_KERNEL_CONCURRENCY="many"),
    )
    assert good[0] == 0
    assert good[1].startswith("catalogue: 4 actions, digest ")
    assert "policy: 1 rules, digest " in good[1]
    assert good[2] == ""
    assert (warned[0], warned[1].splitlines()[1:]) == (0, good[1].splitlines()[1:])
    assert warned[2].startswith(f"plangate-planner: warning: {odd}:11:")
    assert "properties.depth.default: this default is not used" in warned[2]
    assert refused[0] == 1
    assert refused[2].startswith(f"plangate-planner: {bad}:2:40: rules.0.when: at 1:4: Syntax error")
    assert unset[0] == 1
    assert unset[2].count("\n") == 1
    assert "PLANGATE_CATALOGUE_FILE" in unset[2]
    assert wrong[0] == 1
    assert wrong[2].startswith("plangate-planner: PLANGATE_KERNEL_CONCURRENCY: ")
