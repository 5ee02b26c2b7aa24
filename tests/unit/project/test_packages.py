"""What is installed with `pip install plangate`."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_package_says_that_it_is_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if not (ROOT / package / "py.typed").exists()] == []


def test_the_command_says_its_version() -> None:
    command = [sys.executable, "-m", "plangate_client", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"plangate {importlib.metadata.version('plangate')}\n"


def test_the_version_has_notes_and_a_contract_to_compare_with() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"RELEASED_CONTRACT := contract-{version}.binpb\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (ROOT / "protos" / f"contract-{version}.binpb").is_file()
