"""`plangate catalogue import` and `plangate check`, as people run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from plangate_core.catalogue.catalogue import load_catalogue
from tests.support.api_descriptions import code_host_tools


def plangate(*arguments: str, standard_input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plangate_client", *arguments],
        input=standard_input,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_catalogue_is_made_and_everything_changed_is_said(tmp_path: Path) -> None:
    source, target = tmp_path / "tools.json", tmp_path / "catalogue.yaml"
    source.write_text(json.dumps({"tools": code_host_tools()}))
    done = plangate("catalogue", "import", str(source), "-o", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert "! named as a catalogue takes it, not 'invite/collaborator': invite_collaborator" in done.stderr
    assert "117 actions in " in done.stderr
    assert len(load_catalogue(target).actions) == 117
    again = plangate("catalogue", "import", str(source), "-o", str(target))
    assert again.returncode == 2
    assert "exists: --force replaces it" in again.stderr
    forced = plangate("catalogue", "import", str(source), "-o", str(target), "--force", "--only", "get_me")
    assert forced.returncode == 0
    assert [action.name for action in load_catalogue(target).actions] == ["get_me"]


def test_standard_input_and_output_and_refusals(tmp_path: Path) -> None:
    one = json.dumps([{"name": "look", "description": "Look."}])
    done = plangate("catalogue", "import", "-", standard_input=one)
    (tmp_path / "catalogue.yaml").write_text(done.stdout)
    assert [action.name for action in load_catalogue(tmp_path / "catalogue.yaml").actions] == ["look"]
    refused = plangate("catalogue", "import", "-", standard_input="{}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "neither an MCP tool list (tools), nor an OpenAPI file" in refused.stderr
    missing = plangate("catalogue", "import", str(tmp_path / "none.json"))
    assert missing.returncode == 2
    assert "No such file" in missing.stderr


GOOD = """version: 1
actions:
  - name: look
    description: Look at a thing.
    policy: allow
    parameters: {properties: {thing: {type: string}}, required: [thing]}
    command: {argv: [look, "--thing={args.thing}"]}
"""


def test_check_lists_all_that_is_wrong(tmp_path: Path) -> None:
    catalogue, policy = tmp_path / "catalogue.yaml", tmp_path / "policy.yaml"
    files = ("--catalogue", str(catalogue), "--policy", str(policy))
    policy.write_text("version: 1\nrules: [{name: looks, match: {action: look}, effect: allow}]\n")
    catalogue.write_text(GOOD)
    good = plangate("check", "--strict", *files)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("catalogue: 1 actions, digest ")

    catalogue.write_text(GOOD.replace("{args.thing}", "{args.thin}"))
    unbound = plangate("check", *files)
    assert unbound.returncode == 1
    assert (
        f"plangate: {catalogue}:7:14: actions.0.command: {{args.thin}} names no argument of the action"
        in unbound.stderr
    )

    catalogue.write_text(GOOD.replace("required:", "requird:"))
    odd = plangate("check", *files)
    assert odd.returncode == 1, "the argument may be missing now, which the command cannot do without"
    assert "did you mean required?" in odd.stderr

    catalogue.write_text(GOOD.replace("type: string", "typ: string"))
    assert plangate("check", *files).returncode == 0
    strict = plangate("check", "--strict", *files)
    assert strict.returncode == 1
    assert "did you mean type?" in strict.stderr

    catalogue.write_text(GOOD.replace("policy: allow", "polcy: allow").replace("type: string", "type: strnig"))
    policy.write_text("version: 1\nrules: [{name: looks, effect: alow}]\n")
    wrong = plangate("check", *files, PLANGATE_AUTH_TOKENS_FILE=str(tmp_path / "none.yaml"))
    assert wrong.returncode == 1
    *places, tokens = [line.split(": ")[1] for line in wrong.stderr.splitlines()]
    assert places == [
        f"{catalogue}:5:12",
        f"{catalogue}:6:45",
        f"{policy}:2:31",
    ]
    assert tokens == "the tokens file cannot be read"


def test_check_says_when_a_catalogue_will_be_cut(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    words = "It is about one thing among many. " * 20
    actions = [f"  - {{name: act_{number}, description: '{words}', policy: allow}}\n" for number in range(40)]
    catalogue.write_text("version: 1\nactions:\n" + "".join(actions))
    done = plangate("check", "--catalogue", str(catalogue))
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("model embedded: the actions have ")
    assert "it is shown 6,000 of them for each request" in last
