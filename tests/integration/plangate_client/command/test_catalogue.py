"""`plangate catalogue import`, as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from plangate_core.catalogue.catalogue import load_catalogue
from tests.support.api_descriptions import code_host_tools


def plangate(*arguments: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plangate_client", *arguments]
    return subprocess.run(command, input=standard_input, capture_output=True, text=True, timeout=60, check=False)


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
