"""docker-compose.yml: who can reach what, as far as the file itself says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = ("credentials", "model", "store", "planner", "inbox", "executor", "command")


def volumes(service: str) -> dict[str, str]:
    """Name of a volume -> where and how it is mounted."""
    return dict(volume.split(":", 1) for volume in SERVICES[service]["volumes"])


def test_no_server_holds_tokens_of_people() -> None:
    assert {service for service in OURS if "credentials" in volumes(service)} == {"credentials", "command"}
    assert volumes("store") == {"data": "/data", "servers": "/servers:ro"}
    assert volumes("planner") == {"models": "/data", "servers": "/servers:ro", "planner": "/planner:ro"}
    assert volumes("inbox") == {"inbox": "/data", "servers": "/servers:ro"}
    assert volumes("executor") == {"executor": "/executor:ro", "work": "/work"}


def test_settings_name_files_that_are_mounted() -> None:
    for service in ("store", "planner", "inbox", "executor", "command"):
        mounts = [place.partition(":")[0] for place in volumes(service).values()]
        for name, value in SERVICES[service]["environment"].items():
            if name.endswith("_FILE"):
                assert str(Path(value).parent) in mounts, (service, name)


@pytest.mark.parametrize("service", ["store", "planner"])
def test_health_is_checked_whatever_the_image_says(service: str) -> None:
    assert "plangate_core.rpc.probe" in SERVICES[service]["healthcheck"]["test"][-1]
    assert SERVICES[service]["environment"]["PLANGATE_HEALTH_TARGET"].startswith("localhost:")


@pytest.mark.parametrize("service", OURS)
def test_containers_have_no_more_than_they_need(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


def test_the_image_is_built_of_everything_that_the_wheel_has() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    sources = {Path(source) for sources in copied if "--from=build" not in sources for source in sources}
    for needed in map(Path, (*wheel["packages"], *wheel["shared-data"])):
        assert {needed, *needed.parents} & sources, needed
    sent = {Path(line[1:]) for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources:
        assert {source, *source.parents, source / "*.yaml", source.parent / "*.yaml"} & sent, source


def test_the_page_answers_its_health_check() -> None:
    inbox = SERVICES["inbox"]
    compile(inbox["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert f"{inbox['environment']['PLANGATE_INBOX_URL']}/healthz" in inbox["healthcheck"]["test"][-1]
    assert inbox["environment"]["PLANGATE_INBOX_LISTEN"].rpartition(":")[2] == "8443"
